"""Tukey's honestly significant difference for all pairs of strategies in randomised blocks."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from analysis.compare import Question, chosen_rows, columns
from analysis.intervals import Interval
from analysis.order import ordered
from analysis.pairs import Stratum, mean_of_known, strata
from analysis.place import source_of
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


def tukey(
    frame: pd.DataFrame,
    question: Question | None = None,
    *,
    provenance: str | None = None,
    every_verdict: bool = False,
) -> list[TukeyPair]:
    """Compare all pairs of strategies in every stratum that has complete blocks."""
    question = question or Question()
    chosen = chosen_rows(frame, question, provenance=provenance, every_verdict=every_verdict)
    level = 1 - question.rule.alpha
    groups = strata(chosen.frame, question.response, columns(frame, question))
    pairs = [pair for group in groups for pair in tukey_pairs(group, level=level)]
    if not pairs:
        way = "two or more complete blocks of two or more strategies: repeat with --num-runs"
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
    if any(np.isnan(stratum.logs[name]).any(axis=None) for name in names):
        whole = np.all([np.isfinite(stratum.logs[name]).all(axis=0) for name in names], axis=0)
        y = y[:, whole]
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
    return tuple(
        _pair(
            stratum, (names[j], names[i]), float(y[j].mean() - y[i].mean()), half, (error, k, df, b)
        )
        for i, j in combinations(range(k), 2)
    )


def _pair(
    stratum: Stratum,
    names: tuple[str, str],
    difference: float,
    half: float,
    scale: tuple[float, int, int, int],
) -> TukeyPair:
    error, k, df, blocks = scale
    p = float(stats.studentized_range.sf(abs(difference) / error, k, df))
    bounds = (math.exp(difference - half), math.exp(difference + half))
    return TukeyPair(stratum, *names, Interval(math.exp(difference), *bounds, blocks), p)
