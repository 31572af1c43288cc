"""One cell of a table: a mean or a ratio over conditions, its interval and what it rests on."""

import math
from dataclasses import dataclass, replace

import pandas as pd

from analysis.data.grid import complete_replicates, grid
from analysis.statistics.intervals import (
    Interval,
    positive_mean_interval,
    positive_ratio_of_means,
    resampled_ratio,
)


@dataclass(frozen=True, slots=True)
class TableCell:
    """A number, its interval, the runs behind it, and what the interval is over."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    """Runs."""
    over: str = ""
    """`replicates`: run-to-run error. `conditions`: the spread of workloads and loads."""
    paper: float | None = None


def mean_cell(frame: pd.DataFrame, response: str, *, level: float = 0.95) -> TableCell:
    """Mean over the grid of conditions, each condition with the same weight.

    With two or more complete replicates the interval is a t-interval of the replicates' means on
    the log scale, so a launch that shifts all its conditions is seen; replicates that share a
    launch are one. Otherwise it is over the conditions.
    """
    if frame.empty:
        return TableCell(None)
    table = grid(frame, response)
    replicates = complete_replicates(table)
    if len(replicates) > 1:
        return _cell(positive_mean_interval(replicates, level=level), len(frame), "replicates")
    by_condition = table.mean(axis="columns").to_numpy(dtype=float)
    return _cell(_told(positive_mean_interval(by_condition, level=level)), len(frame), "conditions")


def _told(interval: Interval) -> Interval:
    """No bounds where few conditions differ so much that the mean's error is as large as it is."""
    wide = interval.high is not None and interval.high > math.e * interval.value > 0
    return replace(interval, low=None, high=None) if wide else interval


def ratio_cell(
    over: pd.DataFrame, under: pd.DataFrame, response: str, *, level: float = 0.95
) -> TableCell:
    """Ratio of the two means over the conditions both have, paired by replicate or condition.

    A t-interval on the log scale over replicates; a percentile bootstrap over conditions, whose
    loads differ so much that no normal law fits them.
    """
    if over.empty or under.empty:
        return TableCell(None)
    top, bottom = grid(over, response), grid(under, response)
    shared = top.index.intersection(bottom.index)
    if shared.empty:
        return TableCell(None)
    top, bottom = top.loc[shared], bottom.loc[shared]
    n = int(top.notna().sum().sum() + bottom.notna().sum().sum())
    both = top.dropna(axis=1).columns.intersection(bottom.dropna(axis=1).columns)
    if len(both) > 1:
        pairs = (complete_replicates(t[both]) for t in (top, bottom))
        return _cell(positive_ratio_of_means(*pairs, level=level), n, "replicates")
    # Of each condition the replicates that both have, where there are any: pairs, not shifted ones.
    paired = top.notna() & bottom.reindex(columns=top.columns).notna()
    if paired.any(axis="columns").all():
        top, bottom = top.where(paired), bottom.reindex(columns=top.columns).where(paired)
    pairs = (t.mean(axis="columns").to_numpy(dtype=float) for t in (top, bottom))
    return _cell(resampled_ratio(*pairs, level=level), n, "conditions")


def _cell(interval: Interval, n: int, over: str) -> TableCell:
    # Replicates without any spread are copies of one simulated run: no interval follows from them.
    known = interval.low is not None and interval.high != interval.low
    if not known:
        return TableCell(interval.value, n=n)
    return TableCell(interval.value, interval.low, interval.high, n, over)
