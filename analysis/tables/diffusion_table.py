"""Table VII: dense against mixture-of-experts diffusion language models."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.data.order import ordered, shown
from analysis.data.select import Selection
from analysis.data.source_location import source_of
from analysis.statistics.intervals import positive_mean_interval, positive_ratio_of_means
from analysis.tables.cells import TableCell
from analysis.tables.table import Table
from catalog.errors import BadFile
from perfmodel import reference

# The sweep's centre: one setting is varied, the other stays here (paper, section IV-D).
CENTRE = {"steps": 64, "generation_length": 128}
TITLES = {"steps": "Steps", "generation_length": "Gen len"}


def split_diffusion(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of diffusion models and the rest; tokens_per_s is read as output_throughput."""
    if not {"steps", "generation_length"} <= set(frame):
        return frame.iloc[:0], frame
    is_diffusion = frame["steps"].notna() & frame["generation_length"].notna()
    rows = frame[is_diffusion]
    if "tokens_per_s" in rows and "output_throughput" not in rows:
        rows = rows.assign(output_throughput=rows["tokens_per_s"])
    return rows, frame[~is_diffusion]


def diffusion_table(chosen: Selection, *, level: float = 0.95) -> Table:
    """Single-device throughput of the dense and the MoE model, and their ratio."""
    rows = chosen.frame.assign(_moe=_is_moe(chosen.frame))
    if rows["_moe"].nunique() < 2:
        has = "MoE" if rows["_moe"].any() else "dense"
        raise BadFile(source_of(rows), f"column 'model': only {has} models; table VII has both")
    lines = []
    for setting in ("steps", "generation_length"):
        other = "generation_length" if setting == "steps" else "steps"
        here = _at_centre(rows, other)
        for value in ordered(here[setting]):
            cells = _line(here[here[setting] == value], level, (setting, shown(value)))
            lines.append((f"{TITLES[setting]} = {shown(value)}", cells))
    return Table(
        number="VII",
        title="Throughput of diffusion language models on one device; the ratio is dense/MoE",
        unit="tokens/s",
        corner="Configuration",
        columns=("Dense", "MoE", "Ratio"),
        rows=tuple(lines),
        provenance=chosen.provenance,
        level=level,
    )


def _at_centre(rows: pd.DataFrame, setting: str) -> pd.DataFrame:
    here = rows[rows[setting] == CENTRE[setting]]
    return rows if here.empty else here


def _line(rows: pd.DataFrame, level: float, key: tuple[str, str]) -> tuple[TableCell, ...]:
    dense, moe = (
        rows.loc[rows["_moe"] == kind, "output_throughput"].to_numpy(dtype=float)
        for kind in (False, True)
    )
    published = _published().get(key, (None, None, None))
    means = (_mean(dense, level), _mean(moe, level), _ratio(dense, moe, level))
    return tuple(
        TableCell(c.value, c.low, c.high, c.n, c.over, paper)
        for c, paper in zip(means, published, strict=True)
    )


def _mean(values: np.ndarray, level: float) -> TableCell:
    if not len(values):
        return TableCell(None)
    found = positive_mean_interval(values, level=level)
    return TableCell(
        found.value, found.low, found.high, found.n, "replicates" if found.n > 1 else ""
    )


def _ratio(dense: np.ndarray, moe: np.ndarray, level: float) -> TableCell:
    if not (len(dense) and len(moe)):
        return TableCell(None)
    n = len(dense) + len(moe)
    if len(dense) != len(moe):
        return TableCell(float(dense.mean() / moe.mean()), n=n)
    found = positive_ratio_of_means(dense, moe, level=level)
    return TableCell(found.value, found.low, found.high, n, "replicates" if len(dense) > 1 else "")


def _published() -> Mapping[tuple[str, str], tuple[float | None, ...]]:
    return {
        (row["sweep"], row["value"]): tuple(
            float(row[c]) for c in ("dense_tok_s", "moe_tok_s", "ratio")
        )
        for row in reference.table("parallelism_table7_diffusion")
    }


def _is_moe(rows: pd.DataFrame) -> pd.Series:
    column = rows["kind"] if "kind" in rows else rows["model"]
    return column.astype(str).str.lower().str.contains("moe")
