"""Conditions × replicates: how runs line up for averages, pairs and blocks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.data.conditions import LOAD, cells, codes
from analysis.data.launches import UNKNOWN, launch_codes, shared

CONDITION = ("workload", *LOAD)


def conditions_of(frame: pd.DataFrame) -> list[str]:
    """Columns that tell the conditions of one model and strategy apart."""
    return [name for name in CONDITION if name in frame]


def keyed(
    frame: pd.DataFrame, *, apart: Sequence[str] = (), pool: Sequence[str] = ()
) -> pd.DataFrame:
    """Add `_condition` and `_replicate`: runs that agree in both are compared with each other.

    `apart` are further columns that tell conditions apart, `pool` those that are overlooked.
    """
    conditions = [*conditions_of(frame), *apart]
    made = frame.assign(_condition=cells(frame, conditions))
    arm = [name for name in ("model", "strategy") if name in frame]
    return made.assign(_replicate=_replicate(made, [*arm, "_condition"], pool))


def _replicate(frame: pd.DataFrame, within: Sequence[str], pool: Sequence[str]) -> pd.Series:
    """Number the runs of each condition so that equal numbers belong together.

    The block, or the replicate where blocks hold a condition twice. A run of another file or of
    another level of a pooled column has a number of its own where strategies share those, since
    block 0 there is not block 0 here. Never the order of rows: one absent run would shift all
    that follow. Rows without any number are averaged.
    """
    apart = [name for name in ("source_file", *pool) if _shared(frame, name)]
    numbered = [name for name in ("block", "replicate") if _numbered(frame, name)]
    once = [n for n in numbered if not frame.duplicated(subset=[*within, *apart, n]).any()]
    return pd.Series(cells(frame, [*apart, *(once or numbered)[:1]]), frame.index, dtype=float)


def _numbered(frame: pd.DataFrame, name: str) -> bool:
    return name in frame and bool(frame[name].notna().any())


def _shared(frame: pd.DataFrame, name: str) -> bool:
    """Whether some level of a column was run with more than one strategy."""
    if name not in frame or "strategy" not in frame:
        return False
    arms = pd.DataFrame({"level": codes(frame, name), "arm": codes(frame, "strategy")})
    counts = arms.drop_duplicates()["level"].value_counts()
    return bool(len(counts) > 1 and (counts > 1).any())


def unnumbered(frame: pd.DataFrame, within: Sequence[str]) -> bool:
    """Whether runs of one condition repeat that no block or replicate tells apart."""
    if any(_numbered(frame, name) for name in ("block", "replicate")):
        return False
    here = [name for name in within if name in frame]
    return bool(frame.duplicated(subset=here).any())


def grid(frame: pd.DataFrame, response: str) -> pd.DataFrame:
    """Response of one model and strategy: a row for each condition, a column for each replicate.

    Further models that a frame may hold make further conditions.
    """
    rows = frame if "_replicate" in frame else keyed(frame)
    rows = rows.assign(_replicate=_by_launch(rows))
    index = [name for name in ("model", "_condition") if name in rows]
    means = rows.groupby([*index, "_replicate"], dropna=False)[response].mean()
    return means.unstack("_replicate")


def _by_launch(rows: pd.DataFrame) -> pd.Series:
    """Number the replicates anew: those that share a launch have the lowest number of them."""
    codes = pd.Series(launch_codes(rows), rows.index)
    pairs = pd.DataFrame({"replicate": rows["_replicate"], "launch": codes})
    known = pairs[codes != UNKNOWN].drop_duplicates()
    if known["launch"].is_unique:
        return rows["_replicate"]
    numbers = sorted(set(rows["_replicate"]))
    table = known.assign(row=known.groupby("replicate").cumcount()).pivot(
        index="row", columns="replicate", values="launch"
    )
    labels = shared(table.reindex(columns=numbers).fillna(UNKNOWN).to_numpy(dtype=int))
    lowest = dict(zip(reversed(labels), reversed(numbers), strict=True))
    return rows["_replicate"].map(dict(zip(numbers, (lowest[k] for k in labels), strict=True)))


def complete_replicates(table: pd.DataFrame) -> np.ndarray:
    """Mean over conditions of each replicate that has them all."""
    means: np.ndarray = table.dropna(axis="columns").mean(axis="index").to_numpy(dtype=float)
    return means
