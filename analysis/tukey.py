"""Tukey's honestly significant difference for all pairs of strategies in randomised blocks."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Unpack

import numpy as np
import pandas as pd
from scipy import stats

from analysis.data.launches import launches_known, mean_of_known, merged
from analysis.data.order import ordered
from analysis.data.pairs import Stratum, strata
from analysis.data.select import RowSelection
from analysis.data.source_location import source_of
from analysis.question import ComparisonSpec, asked_of
from analysis.statistics.intervals import Interval
from catalog.errors import BadValue


@dataclass(frozen=True, slots=True)
class TukeyPair:
    """Two strategies, with the error rate held over all pairs of their stratum."""

    stratum: Stratum
    strategy: str
    reference: str
    ratio: Interval
    p: float

    def row(self) -> dict[str, object]:
        return {
            **dict(self.stratum.key),
            "strategy": self.strategy,
            "reference": self.reference,
            "ratio": self.ratio.value,
            "ratio_low": self.ratio.low,
            "ratio_high": self.ratio.high,
            "blocks": self.ratio.n,
            "p_tukey": self.p,
        }


@dataclass(frozen=True, slots=True)
class _Spread:
    """The residual spread of a stratum: what the studentized range is taken over."""

    standard_error: float
    strategies: int
    df: int
    blocks: int


def tukey(
    frame: pd.DataFrame,
    spec: ComparisonSpec | None = None,
    **selected: Unpack[RowSelection],
) -> list[TukeyPair]:
    """Compare all pairs of strategies in every stratum that has complete blocks."""
    question = asked_of(frame, spec, **selected)
    chosen, spec = question.chosen, question.spec
    level = 1 - spec.rule.alpha
    groups = strata(chosen.frame, spec.response, spec.by, pool=spec.pool)
    pairs = [pair for group in groups for pair in tukey_pairs(group, level=level)]
    if not pairs:
        way = "two or more complete blocks of two or more strategies: repeat with --num-runs"
        if launches_known(chosen.frame):
            way += ", each replicate on launches of its own (column 'server_group')"
        raise BadValue("replicates", 1, way, where=source_of(chosen.frame))
    return pairs


def tukey_pairs(stratum: Stratum, *, level: float = 0.95) -> tuple[TukeyPair, ...]:
    """Compare all pairs; empty where fewer than two complete blocks or no spread is left.

    With k strategies in b complete blocks and log response y: q = √b·|ȳ_i − ȳ_j|/s, s² the
    residual mean square of y = strategy + block with (k − 1)(b − 1) degrees of freedom, and p from
    the studentized range (Tukey 1953; Montgomery, Design and Analysis of Experiments, 4.1).
    """
    names = [str(name) for name in ordered(stratum.logs)]
    y = np.stack([mean_of_known(stratum.logs[name], 0) for name in names])
    whole = np.all([np.isfinite(stratum.logs[name]).all(axis=0) for name in names], axis=0)
    if not whole.any():
        return ()
    y = merged(y[:, whole], stratum.blocks_joined(whole))
    k, b = y.shape
    if k < 2 or b < 2:
        return ()
    rest = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
    df = (k - 1) * (b - 1)
    error = math.sqrt(float((rest**2).sum()) / df / b)
    # Copies of one number leave rounding, no spread that a test could use.
    if error < 1e-12:
        return ()
    half = float(stats.studentized_range.ppf(level, k, df)) * error
    spread = _Spread(error, k, df, b)
    return tuple(
        _pair(stratum, (names[j], names[i]), float(y[j].mean() - y[i].mean()), half, spread)
        for i, j in combinations(range(k), 2)
    )


def _pair(
    stratum: Stratum,
    names: tuple[str, str],
    difference: float,
    half: float,
    spread: _Spread,
) -> TukeyPair:
    q = abs(difference) / spread.standard_error
    p = float(stats.studentized_range.sf(q, spread.strategies, spread.df))
    bounds = (math.exp(difference - half), math.exp(difference + half))
    return TukeyPair(stratum, *names, Interval(math.exp(difference), *bounds, spread.blocks), p)
