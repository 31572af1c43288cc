"""One strategy against another from paired log-ratios: test, equivalence, verdict, runs needed."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from analysis.intervals import Interval

Adjustment = Literal["holm", "bh", "none"]
Verdict = Literal["better", "worse", "equivalent", "undecided"]

# Up to this many pairs all 2^k sign patterns are counted; beyond, these many random ones.
MOST_EXACT = 28
RANDOM_PATTERNS = 100_000
MOST_RUNS = 10_000


@dataclass(frozen=True, slots=True)
class Rule:
    """How verdicts are reached."""

    alpha: float = 0.05
    margin: float = 0.03
    """Ratios within [1/(1 + margin), 1 + margin] count as equal."""
    adjust: Adjustment = "holm"
    power: float = 0.8
    """Chance to see an effect as large as the margin that `runs_needed` aims at."""

    @property
    def log_margin(self) -> float:
        return math.log1p(self.margin)

    def hardest_level(self, family: int) -> float:
        """The level that the smallest p of a family must reach to be significant at all."""
        return self.alpha / family if self.adjust == "holm" else self.alpha

    def fewest_pairs(self, family: int) -> int:
        """Pairs below which no data could be significant: 2^(1−k) ≤ level."""
        return max(2, 1 + math.ceil(-math.log2(self.hardest_level(family)) - 1e-12))


def smallest_p(pairs: int) -> float:
    """Smallest two-sided p a sign-flip test of k pairs can give: 2^(1−k)."""
    return min(1.0, 2.0 ** (1 - pairs))


def sign_flip(logs: np.ndarray) -> float:
    """Two-sided p of the mean log-ratio under all flips of the pairs' signs (exact for k ≤ 28).

    p = share of the 2^k sign patterns whose sum is at least as far from zero as the observed one.
    The patterns are counted as sums of two halves (Horowitz and Sahni 1974), in about 2^(k/2) time.
    """
    observed = abs(float(logs.sum()))
    if observed == 0:
        return 1.0
    if len(logs) > MOST_EXACT:
        return _sampled(logs)
    # Sums that are equal but for rounding count as equal.
    bound = observed * (1 - 1e-12)
    left, right = (_signed_sums(half) for half in np.array_split(logs, 2))
    right.sort()
    as_far = len(right) - np.searchsorted(right, bound - left)
    return min(1.0, 2 * float(as_far.sum()) / 2.0 ** len(logs))


def _signed_sums(values: np.ndarray) -> np.ndarray:
    """Sums under all 2^n patterns of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _sampled(logs: np.ndarray) -> float:
    found = stats.permutation_test(
        (logs,),
        np.mean,
        permutation_type="samples",
        n_resamples=RANDOM_PATTERNS,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def equivalence_p(logs: np.ndarray, log_margin: float) -> float | None:
    """p of the two one-sided t-tests that the mean log-ratio lies within ± the margin."""
    if len(logs) < 2:
        return None
    return float(DescrStatsW(logs).ttost_mean(-log_margin, log_margin)[0])


def adjusted(p: list[float | None], method: Adjustment) -> list[float | None]:
    """Adjust the p-values of a family that were computed; None stays None."""
    known = [value for value in p if value is not None]
    if len(known) < 2 or method == "none":
        return p
    names = {"holm": "holm", "bh": "fdr_bh"}
    values = iter(multipletests(known, method=names[method])[1])
    return [None if value is None else float(next(values)) for value in p]


def runs_needed(logs: np.ndarray, rule: Rule, family: int) -> int:
    """Pairs at which a true effect of the margin is found with the rule's power, at these spreads.

    Never fewer than the sign-flip test needs to reach its level at all.
    """
    fewest = rule.fewest_pairs(family)
    spread = float(np.std(logs, ddof=1)) if len(logs) > 1 else 0.0
    if spread == 0:
        return fewest
    size, level = rule.log_margin / spread, rule.hardest_level(family)
    # The normal approximation is never above the answer, so the search may start there.
    normal = (stats.norm.ppf(1 - level / 2) + stats.norm.ppf(rule.power)) / size
    enough = max(fewest, min(MOST_RUNS, math.ceil(normal**2)))
    while enough < MOST_RUNS and not _power(size, enough, level) >= rule.power:
        enough += 1
    return min(enough, MOST_RUNS)


def _power(effect: float, pairs: int, level: float) -> float:
    power = float(TTestPower().power(effect, pairs, level))
    # Far out the noncentral t has no value in floating point: power is one there.
    return 1.0 if math.isnan(power) else power


def verdict(
    ratio: Interval,
    p: float | None,
    p_equivalence: float | None,
    *,
    alpha: float,
    higher_is_better: bool,
) -> Verdict:
    """Equivalent when shown to lie within the margin, else better or worse when shown to differ."""
    if p_equivalence is not None and p_equivalence <= alpha:
        return "equivalent"
    if p is None or p > alpha:
        return "undecided"
    return "better" if (ratio.value > 1) == higher_is_better else "worse"
