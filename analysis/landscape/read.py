"""Landscapes: one row a configuration, from results, from a table, or published."""

from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from analysis.frame import load
from analysis.landscape.objective import PERPLEXITY, QUALITY, Objective
from analysis.place import source_of
from analysis.read import read_table
from analysis.select import one_provenance
from catalog.errors import BadFile, closest
from perfmodel.arrays import FloatArray

PUBLISHED = {"mixtral-a6000": "techniques_a6000.csv"}
CITATIONS = {
    "mixtral-a6000": "«Navigating the Design Space of MoE LLM Inference Optimization», Table 2: "
    "Mixtral 8x7B variants on one A6000 48 GB; Fiddler's perplexity is not given"
}
PLACE = ("source_file", "source_row")


def read_landscape(source: str, *, provenance: str | None = None) -> pd.DataFrame:
    """Read a results directory, a CSV or Parquet file, or a published landscape by its name.

    Replicates of one cell become one row of means; measured and simulated rows never mix unasked.
    """
    if source in PUBLISHED and not Path(source).exists():
        with as_file(files("analysis.landscape").joinpath(PUBLISHED[source])) as path:
            return read_table(path).assign(source_file=source)
    if not Path(source).exists() and Path(source).suffix == "":
        close = closest(source, PUBLISHED) or sorted(PUBLISHED)
        raise BadFile(source, f"no such file; the published landscape is {' or '.join(close)}")
    frame, _ = one_provenance(load(source), provenance)
    return _one_row_a_cell(frame.reset_index(drop=True))


def _one_row_a_cell(frame: pd.DataFrame) -> pd.DataFrame:
    """Average the valid replicates of each cell; runs that do not count stay rows of their own."""
    if "cell_id" not in frame or not frame["cell_id"].astype(bool).all():
        return frame
    counted = pd.Series([not text for text in verdicts(frame)], index=frame.index)
    if not frame.loc[counted, "cell_id"].duplicated().any():
        return frame
    means = {
        str(name): "mean" if pd.api.types.is_float_dtype(frame[name]) else "first"
        for name in frame
        if name != "cell_id"
    }
    cells = frame[counted].groupby("cell_id", sort=False)
    merged = cells.agg(means).assign(replicates=cells.size()).reset_index()
    return pd.concat([merged, frame[~counted]], ignore_index=True)


def verdicts(frame: pd.DataFrame) -> list[str]:
    """Why a run does not count, from its verdict; empty where it does or no verdict is given."""
    if "verdict" not in frame:
        return [""] * len(frame)
    why = frame["verdict_reasons"] if "verdict_reasons" in frame else frame["verdict"]
    pairs = zip(frame["verdict"].astype(str), why.astype(str), strict=True)
    return ["" if verdict in ("valid", "") else f"run {verdict}: {text}" for verdict, text in pairs]


def numbers(frame: pd.DataFrame, column: str) -> FloatArray:
    """One column as numbers, NaN where unknown; refuses text and absent columns."""
    if column not in frame:
        near = closest(column, [str(name) for name in frame.columns])
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {_numeric(frame)}"
        raise BadFile(source_of(frame), f"no column {column!r}; {hint}")
    if not pd.api.types.is_numeric_dtype(frame[column]):
        raise BadFile(source_of(frame), f"column {column!r} holds text, not numbers")
    values: FloatArray = frame[column].to_numpy(dtype=float, na_value=float("nan"))
    return values


def _numeric(frame: pd.DataFrame) -> str:
    names = [str(n) for n in frame if n not in PLACE and pd.api.types.is_numeric_dtype(frame[n])]
    return ", ".join(names[:24]) + (", …" if len(names) > 24 else "")


def meant(objective: Objective, frame: pd.DataFrame) -> Objective:
    """Largest `quality` means smallest perplexity in a landscape that has only that."""
    if objective.column == QUALITY and QUALITY not in frame and PERPLEXITY in frame:
        return Objective(PERPLEXITY, not objective.maximise, objective.weight)
    return objective
