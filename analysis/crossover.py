"""The concurrency at which two strategies change places, with the interval the data allow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
import pandas as pd
from scipy import stats

from analysis.data.launches import mean_of_known, merged, shared, stacked
from analysis.data.load import COLUMN, one_kind, with_load
from analysis.data.order import ordered
from analysis.data.pairs import LOAD, NO_SPREAD, StratumKey, plain_level, strata
from analysis.data.select import RowSelection, need_levels
from analysis.data.source_location import refuse_row, source_of
from analysis.question import ComparisonSpec, asked_of, reference_of
from catalog.errors import BadFile
from orchestrator.results.quantities import is_higher_better

# Points between the lowest and highest load at which the confidence set is evaluated.
STEPS = 2001
COPIES = "the replicates repeat one number: no interval"


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where a strategy overtakes another; None where that is outside of what was measured."""

    key: StratumKey
    strategy: str
    reference: str
    load_kind: str
    """`concurrency` or `request rate`."""
    load: float | None
    low: float | None
    high: float | None
    blocks: int
    better_below: str
    better_above: str
    note: str

    def row(self) -> dict[str, object]:
        return {
            **dict(self.key),
            "strategy": self.strategy,
            "reference": self.reference,
            f"crossover_{self.load_kind.replace(' ', '_')}": self.load,
            "crossover_low": self.low,
            "crossover_high": self.high,
            "blocks": self.blocks,
            "better_below": self.better_below,
            "better_above": self.better_above,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class _Root:
    """A load at which the log-ratio is zero, with its interval; None where there is none."""

    load: float | None = None
    low: float | None = None
    high: float | None = None


NO_ROOT = _Root()


@dataclass(frozen=True, slots=True)
class _ComparedPair:
    """Two strategies within one model and workload, along one kind of load."""

    key: StratumKey
    strategy: str
    reference: str
    load_kind: str

    def crossover(
        self, *, blocks: int, below: str, above: str, note: str, at: _Root = NO_ROOT
    ) -> Crossover:
        return Crossover(
            key=self.key,
            strategy=self.strategy,
            reference=self.reference,
            load_kind=self.load_kind,
            load=at.load,
            low=at.low,
            high=at.high,
            blocks=blocks,
            better_below=below,
            better_above=above,
            note=note,
        )


def crossovers(
    frame: pd.DataFrame,
    spec: ComparisonSpec | None = None,
    **selected: Unpack[RowSelection],
) -> list[Crossover]:
    """Find where each strategy and the reference change places, per model and workload.

    The log-ratio is interpolated linearly in log concurrency within each block. The estimate is
    where its mean is zero; the interval holds every concurrency at which a t-test of the blocks'
    log-ratios does not reject zero (test inversion), so an open end is reported as open.
    """
    spec = spec or ComparisonSpec()
    by = ("model", "workload", *(name for name in spec.by if name not in (*LOAD, "load")))
    spec = replace(spec, by=tuple(dict.fromkeys(by)))
    question = asked_of(frame, spec, **selected)
    chosen, spec = question.chosen.frame, question.spec
    kind = one_kind(chosen)
    unknown = np.flatnonzero(with_load(chosen)["load"].isna())
    if unknown.size:
        refuse_row(chosen, int(unknown[0]), COLUMN[kind], "empty, and a crossover is a load")
    need_levels(chosen, COLUMN[kind])
    names = [str(name) for name in ordered(chosen["strategy"])]
    reference = reference_of(chosen, spec.reference)
    sign = 1.0 if is_higher_better(spec.response, spec.better) else -1.0
    found: list[Crossover] = []
    for key, rows in _groups(with_load(chosen), spec.by):
        for strategy in names:
            if strategy == reference or not {strategy, reference} <= set(rows["strategy"]):
                continue
            pair = _ComparedPair(key, strategy, reference, kind)
            loads, ratios = _curve(rows, spec, pair)
            found += _crossovers_of(pair, loads, sign * ratios, spec.rule.alpha)
    if not found:
        problem = f"no crossover can be sought: nothing ran beside {reference!r}"
        raise BadFile(source_of(chosen), f"{problem} under one {' and '.join(spec.by)}")
    return found


def _groups(frame: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[StratumKey, pd.DataFrame]]:
    """Rows that agree in all of these columns, in the order of their levels."""
    if not by:
        yield (), frame
        return
    for level in ordered(frame[by[0]]):
        for key, rows in _groups(frame[frame[by[0]] == level], by[1:]):
            yield ((by[0], plain_level(level)), *key), rows


def _curve(
    rows: pd.DataFrame, spec: ComparisonSpec, pair: _ComparedPair
) -> tuple[np.ndarray, np.ndarray]:
    """Log₂ loads, and the log-ratio of each load (rows) in each block (columns), NaN where none.

    Blocks that share a launch of either strategy are one.
    """
    loads, ratios, codes = [], [], []
    here = rows[rows["strategy"].isin([pair.strategy, pair.reference])]
    for group in strata(here, spec.response, ("load",), pool=spec.pool):
        if {pair.strategy, pair.reference} <= set(group.logs):
            difference = group.logs[pair.strategy] - group.logs[pair.reference]
            if np.isfinite(difference).any():
                loads.append(np.log2(float(str(group.key[0][1]))))
                ratios.append(mean_of_known(difference, 0))
                used = [group.launches[name] for name in (pair.strategy, pair.reference)]
                codes.append(stacked(used, np.isfinite(difference)))
    if not loads:
        return np.empty(0), np.empty((0, 0))
    return np.array(loads), merged(np.array(ratios), shared(np.vstack(codes)))


def _crossovers_of(
    pair: _ComparedPair, loads: np.ndarray, ratios: np.ndarray, alpha: float
) -> Iterator[Crossover]:
    """Yield where the pair changes places, or one crossover without a load where it never does.

    Every pair of runs counts for its load's mean; the interval needs blocks with all loads.
    """
    if len(loads) < 2:
        note = f"not sought: {len(loads)} loads have pairs of runs in one block; two are needed"
        yield pair.crossover(blocks=0, below="", above="", note=note)
        return
    complete = ratios[:, np.isfinite(ratios).all(axis=0)]
    blocks = complete.shape[1]
    copies = blocks > 1 and float(np.ptp(complete, axis=1).max()) < NO_SPREAD
    at = np.linspace(loads[0], loads[-1], STEPS)
    means = mean_of_known(ratios, 1)
    mean = np.interp(at, loads, means)
    roots = _roots(loads, means)
    undecided = None
    if blocks > 1 and not copies:
        curves = np.stack([np.interp(at, loads, column) for column in complete.T])
        undecided = _undecided(curves, curves.mean(axis=0), alpha)
    for root in roots:
        low, high = _bounds(at, undecided, root) if undecided is not None else (None, None)
        before = mean[at < root]
        rising = bool(len(before) and before[-1] < 0)
        yield pair.crossover(
            at=_Root(float(2**root), low, high),
            blocks=blocks,
            below=pair.reference if rising else pair.strategy,
            above=pair.strategy if rising else pair.reference,
            note=COPIES if copies else _note(blocks, low, high),
        )
    if not roots:
        ahead = pair.strategy if mean.mean() > 0 else pair.reference if mean.any() else ""
        span = f"{2 ** loads[0]:g} to {2 ** loads[-1]:g}"
        note = f"no crossover in {pair.load_kind} {span}: {_ahead(ahead, means, undecided, blocks)}"
        yield pair.crossover(blocks=blocks, below=ahead, above=ahead, note=note)


def _ahead(name: str, means: np.ndarray, undecided: np.ndarray | None, blocks: int) -> str:
    """Who leads throughout, and whether the runs show it; equal means are no lead."""
    if not name:
        return "the two are equal at every load"
    text = f"{name} is {'ahead at every load' if means.all() else 'nowhere behind'}"
    if undecided is None:
        return f"{text}, untested: {COPIES if blocks > 1 else 'too few blocks hold them all'}"
    return f"{text}; the runs do not rule one out" if undecided.any() else text


def _roots(loads: np.ndarray, mean: np.ndarray) -> list[float]:
    """Zeros of the piecewise linear mean where its sign changes."""
    roots = []
    for i in range(len(loads) - 1):
        left, right = float(mean[i]), float(mean[i + 1])
        if left * right < 0 or (left == 0 and i > 0 and float(mean[i - 1]) * right < 0):
            share = left / (left - right)
            roots.append(float(loads[i] + share * (loads[i + 1] - loads[i])))
    return roots


def _undecided(curves: np.ndarray, mean: np.ndarray, alpha: float) -> np.ndarray:
    """Whether zero is inside the t-interval of the mean log-ratio, at each load."""
    blocks = len(curves)
    half = stats.t.ppf(1 - alpha / 2, blocks - 1) * curves.std(axis=0, ddof=1) / np.sqrt(blocks)
    undecided: np.ndarray = np.abs(mean) <= half
    return undecided


def _bounds(
    at: np.ndarray, undecided: np.ndarray, root: float
) -> tuple[float | None, float | None]:
    """Ends of the run of undecided loads around a root; None where it runs to the end."""
    here = int(np.argmin(np.abs(at - root)))
    low = high = here
    while low > 0 and undecided[low - 1]:
        low -= 1
    while high < len(at) - 1 and undecided[high + 1]:
        high += 1
    start = None if low == 0 and undecided[0] else float(2 ** at[low])
    end = None if high == len(at) - 1 and undecided[-1] else float(2 ** at[high])
    return start, end


def _note(blocks: int, low: float | None, high: float | None) -> str:
    if blocks < 1:
        return "no block holds every load: no interval"
    if blocks < 2:
        return "one run a point: no interval; repeat with --num-runs"
    if low is None and high is None:
        return "the runs do not show a crossover within the measured loads"
    return "the interval is open: it goes beyond the measured loads" if None in (low, high) else ""
