"""Conditions × replicates: how runs line up for averages, pairs and blocks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

CONDITION = ("workload", "max_concurrency", "request_rate", "burstiness", "technique")


def conditions_of(frame: pd.DataFrame) -> list[str]:
    """Columns that tell the conditions of one model and strategy apart."""
    return [name for name in CONDITION if name in frame]


def keyed(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `_condition` and `_replicate`: runs that agree in both are compared with each other."""
    conditions = conditions_of(frame)
    code = frame.groupby(conditions, dropna=False).ngroup() if conditions else 0
    made = frame.assign(_condition=code)
    arm = [name for name in ("model", "strategy") if name in frame]
    return made.assign(_replicate=_replicate(made, [*arm, "_condition"]))


def _replicate(frame: pd.DataFrame, within: Sequence[str]) -> pd.Series:
    """Number the runs of each condition so that equal numbers belong together.

    The block where every block holds a condition once, else the replicate, else the order of rows.
    """
    for name in ("block", "replicate"):
        complete = name in frame and not frame[name].isna().any()
        if complete and not frame.duplicated(subset=[*within, name]).any():
            return frame[name].astype(float)
    return frame.groupby(list(within), dropna=False).cumcount().astype(float)


def grid(frame: pd.DataFrame, response: str) -> pd.DataFrame:
    """Response of one model and strategy: a row for each condition, a column for each replicate.

    Further models that a frame may hold make further conditions.
    """
    rows = frame if "_replicate" in frame else keyed(frame)
    index = [name for name in ("model", "_condition") if name in rows]
    cells = rows.groupby([*index, "_replicate"], dropna=False)[response].mean()
    return cells.unstack("_replicate")


def complete_replicates(table: pd.DataFrame) -> np.ndarray:
    """Mean over conditions of each replicate that has them all."""
    means: np.ndarray = table.dropna(axis="columns").mean(axis="index").to_numpy(dtype=float)
    return means
