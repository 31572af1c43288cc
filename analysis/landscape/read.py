"""Landscapes: one row a configuration, from results, from a table, or published."""

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import NoReturn, TypedDict, Unpack

import numpy as np
import pandas as pd

from analysis.data.conditions import NOTHING_SAID, Pooling
from analysis.data.frame import load
from analysis.data.likeness import like
from analysis.data.own_names import NO_OWN_NAMES, OwnNames
from analysis.data.read import is_empty, read_table
from analysis.data.select import one_provenance
from analysis.data.source_location import refuse_row, source_of
from analysis.data.where import where
from analysis.landscape.canonical import PLACE
from analysis.landscape.latency import LATENCY, with_latency
from analysis.landscape.objective import PERPLEXITY, QUALITY, Objective
from analysis.landscape.replicates import one_row_a_condition
from catalog.errors import BadFile, closest
from perfmodel.arrays import BoolArray, FloatArray

PUBLISHED = {"mixtral-a6000": "techniques_a6000.csv"}
CITATIONS = {
    "mixtral-a6000": "«Navigating the Design Space of MoE LLM Inference Optimization», Table 2: "
    "Mixtral 8x7B variants on one A6000 48 GB; Fiddler's perplexity is not given"
}


class Scope(TypedDict, total=False):
    """Which rows of a source are the landscape, and how they are read."""

    provenance: str | None
    """The one kind of numbers to take: measured and simulated ones are never mixed."""
    conditions: Sequence[str]
    """Rows to keep, as `gpu_type=H100`."""
    pooling: Pooling
    """Columns whose differences are overlooked."""
    own: OwnNames
    """Columns with names of one's own."""
    objectives: Sequence[str]
    """Columns to be small or large: results, so that rows which differ in them may be alike."""
    output_len: int | None
    """Tokens of an answer whose latency is derived."""


def read_landscape(source: str, **scope: Unpack[Scope]) -> pd.DataFrame:
    """Read a results directory, a CSV or Parquet file, or a published landscape by its name.

    One row a condition: replicates become their mean, and `replicates` says of how many runs.
    """
    pooling = scope.get("pooling", NOTHING_SAID)
    frame = where(_rows(source, scope.get("own", NO_OWN_NAMES)), scope.get("conditions", ()))
    frame, _ = one_provenance(frame, scope.get("provenance"))
    pooling.check(frame)
    frame = frame.reset_index(drop=True)
    output_len = scope.get("output_len")
    if output_len is not None:
        frame = with_latency(frame, output_len)
    counted = counts(frame)
    if not counted.any():
        return frame
    # Runs that do not count stay as they are: each is refused for a reason of its own.
    merged = one_row_a_condition(
        frame[counted], pool=pooling.pool, objectives=scope.get("objectives", ())
    )
    return merged if counted.all() else pd.concat([merged, frame[~counted]], ignore_index=True)


def _rows(source: str, own: OwnNames) -> pd.DataFrame:
    if source in PUBLISHED and not Path(source).exists():
        with as_file(files("analysis.landscape").joinpath(PUBLISHED[source])) as path:
            return read_table(path).assign(source_file=source)
    if not Path(source).exists() and Path(source).suffix == "":
        close = closest(source, PUBLISHED) or sorted(PUBLISHED)
        raise BadFile(source, f"no such file; the published landscape is {' or '.join(close)}")
    return load(source, own=own)


def verdicts(frame: pd.DataFrame) -> list[str]:
    """Why a row does not count: a run's verdict, an estimate of what cannot be.

    Empty where it does, or where neither is given.
    """
    told = [""] * len(frame)
    if "verdict" in frame:
        why = frame["verdict_reasons"] if "verdict_reasons" in frame else frame["verdict"]
        pairs = zip(frame["verdict"].astype(str), why.astype(str), strict=True)
        told = ["" if said in ("valid", "") else f"run {said}: {text}" for said, text in pairs]
    if "feasible" in frame:
        whys = frame["why"].astype(str) if "why" in frame else told
        cannot = frame["feasible"].astype(str).str.lower() == "false"
        told = [f"cannot be: {why}" if no else text
                for no, why, text in zip(cannot, whys, told, strict=True)]  # fmt: skip
    return told


def counts(frame: pd.DataFrame) -> BoolArray:
    """Whether each row counts."""
    return np.array([not text for text in verdicts(frame)], bool)


def numbers(frame: pd.DataFrame, column: str) -> FloatArray:
    """One column as numbers, NaN where unknown; refuses text and absent columns."""
    if column not in frame:
        raise BadFile(source_of(frame), f"no column {column!r}; {_meant(column, frame)}")
    if is_empty(frame[column]):
        raise BadFile(source_of(frame), f"column {column!r} is empty: no row has a value")
    if not pd.api.types.is_numeric_dtype(frame[column]):
        _refuse_text(frame, column)
    values: FloatArray = frame[column].to_numpy(dtype=float, na_value=float("nan"))
    if np.isinf(values).any():
        refuse_row(frame, int(np.flatnonzero(np.isinf(values))[0]), column, "not a finite number")
    return values


def _refuse_text(frame: pd.DataFrame, column: str) -> NoReturn:
    """Name the first cell that is no number, where some are."""
    known = pd.to_numeric(frame[column], errors="coerce").notna()
    first = frame[~known & frame[column].astype(str).str.strip().ne("")].iloc[0]
    row = f", row {first['source_row']:g}: {first[column]!r} is no number" if known.any() else ""
    raise BadFile(source_of(frame), f"column {column!r} holds text, not numbers{row}")


def _meant(column: str, frame: pd.DataFrame) -> str:
    """What an absent column may have been."""
    own = [str(name) for name in frame if name not in PLACE]
    near = like(column, own)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {_numeric(frame)}"
    if not near and not _numeric(frame):
        hint = f"none holds numbers: {', '.join(own[:24])}"
    if column.startswith("latency"):
        hint = f"--output-len N derives {LATENCY} = TTFT + N·TPOT, or {hint}"
    return hint


def _numeric(frame: pd.DataFrame) -> str:
    names = [str(n) for n in frame if n not in PLACE and pd.api.types.is_numeric_dtype(frame[n])]
    return ", ".join(names[:24]) + (", …" if len(names) > 24 else "")


def resolved_objective(objective: Objective, frame: pd.DataFrame) -> Objective:
    """Largest `quality` means smallest perplexity in a landscape that has only that."""
    if objective.column == QUALITY and QUALITY not in frame and PERPLEXITY in frame:
        return Objective(PERPLEXITY, not objective.maximise, objective.weight)
    return objective
