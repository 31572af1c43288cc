"""The concurrency at which two strategies change places, with the interval the data allow."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from analysis.compare import Question, chosen_rows, higher_is_better
from analysis.load import COLUMN, one_kind, with_load
from analysis.order import ordered
from analysis.pairs import Key, mean_of_known, strata
from analysis.select import need_levels
from catalog.errors import UnknownName

# Points between the lowest and highest load at which the confidence set is evaluated.
STEPS = 2001


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where a strategy overtakes another; None where that is outside of what was measured."""

    key: Key
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


def crossovers(
    frame: pd.DataFrame,
    question: Question | None = None,
    *,
    provenance: str | None = None,
    every_verdict: bool = False,
) -> list[Crossover]:
    """Find where each strategy and the reference change places, per model and workload.

    The log-ratio is interpolated linearly in log concurrency within each block. The estimate is
    where its mean is zero; the interval holds every concurrency at which a t-test of the blocks'
    log-ratios does not reject zero (test inversion), so an open end is reported as open.
    """
    question = replace(question or Question(), by=("model", "workload"))
    chosen = chosen_rows(frame, question, provenance=provenance, every_verdict=every_verdict)
    kind = one_kind(chosen.frame)
    need_levels(chosen.frame, COLUMN[kind])
    names = [str(name) for name in ordered(chosen.frame["strategy"])]
    reference = question.reference or names[0]
    if reference not in names:
        raise UnknownName("strategy", reference, names)
    sign = 1.0 if higher_is_better(question.response) else -1.0
    found: list[Crossover] = []
    for key, rows in _groups(with_load(chosen.frame)):
        for strategy in names:
            if strategy == reference or not {strategy, reference} <= set(rows["strategy"]):
                continue
            pair = (strategy, reference)
            loads, ratios = _curve(rows, question.response, pair)
            measured = _find((key, pair, kind), loads, sign * ratios, question.rule.alpha)
            found += list(measured)
    return found


def _groups(frame: pd.DataFrame) -> Iterator[tuple[Key, pd.DataFrame]]:
    for model in ordered(frame["model"]):
        here = frame[frame["model"] == model]
        for workload in ordered(here["workload"]):
            yield (
                (("model", model), ("workload", workload)),
                here[here["workload"] == workload],
            )


def _curve(
    rows: pd.DataFrame, response: str, names: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Log₂ loads, and the log-ratio of each load (rows) in each complete block (columns)."""
    loads, ratios = [], []
    for group in strata(rows, response, ("load",)):
        if set(names) <= set(group.logs):
            loads.append(np.log2(float(str(group.key[0][1]))))
            ratios.append(mean_of_known(group.logs[names[0]] - group.logs[names[1]], 0))
    width = max((len(r) for r in ratios), default=0)
    table = np.array([np.pad(r, (0, width - len(r)), constant_values=np.nan) for r in ratios])
    return np.array(loads), table[:, np.isfinite(table).all(axis=0)]


def _find(
    what: tuple[Key, tuple[str, str], str],
    loads: np.ndarray,
    ratios: np.ndarray,
    alpha: float,
) -> Iterator[Crossover]:
    key, names, kind = what
    blocks = ratios.shape[1] if ratios.ndim == 2 else 0
    if len(loads) < 2 or blocks == 0:
        return
    at = np.linspace(loads[0], loads[-1], STEPS)
    curves = np.stack([np.interp(at, loads, column) for column in ratios.T])
    mean = curves.mean(axis=0)
    roots = _roots(loads, ratios.mean(axis=1))
    unsure = _unsure(curves, mean, alpha) if blocks > 1 else None
    for root in roots:
        low, high = _bounds(at, unsure, root) if unsure is not None else (None, None)
        before = mean[at < root]
        rising = bool(len(before) and before[-1] < 0)
        below, above = (names[1], names[0]) if rising else (names[0], names[1])
        yield Crossover(
            key,
            *names,
            kind,
            float(2**root),
            low,
            high,
            blocks,
            below,
            above,
            _note(blocks, low, high),
        )
    if not roots:
        ahead = names[0] if mean.mean() > 0 else names[1]
        note = f"no crossover: {ahead} is ahead at every load"
        yield Crossover(key, *names, kind, None, None, None, blocks, ahead, ahead, note)


def _roots(loads: np.ndarray, mean: np.ndarray) -> list[float]:
    """Zeros of the piecewise linear mean where its sign changes."""
    roots = []
    for i in range(len(loads) - 1):
        left, right = float(mean[i]), float(mean[i + 1])
        if left * right < 0 or (left == 0 and i > 0 and float(mean[i - 1]) * right < 0):
            share = left / (left - right)
            roots.append(float(loads[i] + share * (loads[i + 1] - loads[i])))
    return roots


def _unsure(curves: np.ndarray, mean: np.ndarray, alpha: float) -> np.ndarray:
    """Whether zero is inside the t-interval of the mean log-ratio, at each load."""
    blocks = len(curves)
    half = stats.t.ppf(1 - alpha / 2, blocks - 1) * curves.std(axis=0, ddof=1) / np.sqrt(blocks)
    unsure: np.ndarray = np.abs(mean) <= half
    return unsure


def _bounds(at: np.ndarray, unsure: np.ndarray, root: float) -> tuple[float | None, float | None]:
    """Ends of the run of unsure loads around a root; None where it runs to the end."""
    here = int(np.argmin(np.abs(at - root)))
    low = high = here
    while low > 0 and unsure[low - 1]:
        low -= 1
    while high < len(at) - 1 and unsure[high + 1]:
        high += 1
    start = None if low == 0 and unsure[0] else float(2 ** at[low])
    end = None if high == len(at) - 1 and unsure[-1] else float(2 ** at[high])
    return start, end


def _note(blocks: int, low: float | None, high: float | None) -> str:
    if blocks < 2:
        return "one run a point: no interval; repeat with --num-runs"
    if low is None and high is None:
        return "the runs do not show a crossover within the measured loads"
    return "the interval is open: it goes beyond the measured loads" if None in (low, high) else ""
