"""One cell of a table: a mean or a ratio over conditions, its interval and what it rests on."""

from dataclasses import dataclass

import pandas as pd

from analysis.grid import complete_replicates, grid
from analysis.intervals import Interval, mean_interval, ratio_of_means, resampled_ratio


@dataclass(frozen=True, slots=True)
class Cell:
    """A number, its interval, the runs behind it, and what the interval is over."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    """Runs."""
    over: str = ""
    """`replicates`: run-to-run error. `conditions`: the spread of workloads and loads."""
    paper: float | None = None


def mean_cell(frame: pd.DataFrame, response: str, *, level: float = 0.95) -> Cell:
    """Mean over the grid of conditions, each condition with the same weight.

    With two or more complete replicates the interval is a t-interval of the replicates' means, so
    a launch that shifts all its conditions is seen. Otherwise it is over the conditions.
    """
    if frame.empty:
        return Cell(None)
    table = grid(frame, response)
    replicates = complete_replicates(table)
    if len(replicates) > 1:
        return _cell(mean_interval(replicates, level=level), len(frame), "replicates")
    by_condition = table.mean(axis="columns").to_numpy(dtype=float)
    return _cell(mean_interval(by_condition, level=level), len(frame), "conditions")


def ratio_cell(
    over: pd.DataFrame, under: pd.DataFrame, response: str, *, level: float = 0.95
) -> Cell:
    """Ratio of the two means over the conditions both have, paired by replicate or condition.

    Fieller's interval over replicates; a percentile bootstrap over conditions, whose loads differ
    so much that no normal law fits them.
    """
    if over.empty or under.empty:
        return Cell(None)
    top, bottom = grid(over, response), grid(under, response)
    shared = top.index.intersection(bottom.index)
    if shared.empty:
        return Cell(None)
    top, bottom = top.loc[shared], bottom.loc[shared]
    n = int(top.notna().sum().sum() + bottom.notna().sum().sum())
    both = top.dropna(axis=1).columns.intersection(bottom.dropna(axis=1).columns)
    if len(both) > 1:
        pairs = (complete_replicates(t[both]) for t in (top, bottom))
        return _cell(ratio_of_means(*pairs, level=level), n, "replicates")
    pairs = (t.mean(axis="columns").to_numpy(dtype=float) for t in (top, bottom))
    return _cell(resampled_ratio(*pairs, level=level), n, "conditions")


def _cell(interval: Interval, n: int, over: str) -> Cell:
    # Replicates without any spread are copies of one simulated run: no interval follows from them.
    known = interval.low is not None and interval.high != interval.low
    if not known:
        return Cell(interval.value, n=n)
    return Cell(interval.value, interval.low, interval.high, n, over)
