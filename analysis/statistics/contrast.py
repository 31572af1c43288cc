"""One strategy against another from paired log-ratios: test, equivalence, verdict, runs needed."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from analysis.statistics.intervals import Interval

Adjustment = Literal["holm", "bh", "none"]
ContrastVerdict = Literal["better", "worse", "equivalent", "undecided"]

# Up to this many pairs all 2^k sign patterns are counted; beyond, these many random ones.
MOST_EXACT = 28
RANDOM_PATTERNS = 100_000
MOST_RUNS = 10_000
FEWEST_TESTED = 3
"""Log-ratios below which an interval says next to nothing: two have one degree of freedom."""
PLANNED_SPREAD = 0.03
"""Of paired log-ratios where fewer than that were measured: 2 % from run to run, √2 in a pair."""
PLANNED_EFFECT = 0.05
SPREAD_LIMIT = 0.7
"""One-sided confidence that a spread is below what is planned for."""


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

    def planning_level(self, family: int) -> float:
        """The level that a contrast passes whatever the others of its family turn out to be.

        Bonferroni's: neither Holm nor Benjamini–Hochberg ever asks for less than it.
        """
        return self.alpha if self.adjust == "none" else self.alpha / family

    def fewest_pairs(self, family: int) -> int:
        """Pairs below which no data could be significant by signs alone: 2^(1−k) ≤ level."""
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
    """p over random patterns, the observed one among them (Phipson and Smyth 2010)."""
    rng, bound = np.random.default_rng(0), abs(float(logs.sum())) * (1 - 1e-12)
    sums = np.zeros(RANDOM_PATTERNS)
    for start in range(0, len(logs), 8):
        signed = _signed_sums(logs[start : start + 8])
        sums += signed[rng.integers(0, len(signed), RANDOM_PATTERNS)]
    return (int((np.abs(sums) >= bound).sum()) + 1) / (RANDOM_PATTERNS + 1)


def difference_p(logs: np.ndarray) -> float | None:
    """Two-sided p of the t-test that the mean log-ratio is zero: the interval's own test."""
    if len(logs) < FEWEST_TESTED:
        return None
    return 2 * _chance_below(-abs(_t(logs, 0.0)), len(logs))


def equivalence_p(logs: np.ndarray, log_margin: float) -> float | None:
    """p of the two one-sided t-tests that the mean log-ratio lies within ± the margin."""
    if len(logs) < FEWEST_TESTED:
        return None
    below, above = -_t(logs, -log_margin), _t(logs, log_margin)
    return _chance_below(max(below, above), len(logs))


def _t(logs: np.ndarray, truth: float) -> float:
    """Student's t of the mean against a truth."""
    error = float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    distance = float(np.mean(logs)) - truth
    if error == 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / error


def _chance_below(t: float, n: int) -> float:
    """Chance of a value below t, by Student's law with n − 1 degrees of freedom."""
    return float(special.stdtr(n - 1, t))


def adjusted(p: list[float | None], method: Adjustment) -> list[float | None]:
    """Adjust the p-values of a family that were computed; None stays None."""
    known = [value for value in p if value is not None]
    if len(known) < 2 or method == "none":
        return p
    names = {"holm": "holm", "bh": "fdr_bh"}
    from statsmodels.stats.multitest import multipletests  # slow to load, and often not needed

    values = iter(multipletests(known, method=names[method])[1])
    return [None if value is None else float(next(values)) for value in p]


def runs_needed(logs: np.ndarray, rule: Rule, family: int) -> int:
    """Pairs at which a true effect of the margin is found with the rule's power, at these spreads.

    At the level that holds after the correction for the family. Never fewer than the sign-flip
    test needs to agree. Where there are too few pairs to know a spread: `planned_runs`.

    Few pairs do not tell their spread well, and a plan for one that came out small misses its power
    as often as not: the upper limit s·√((n − 1)/χ²) of a one-sided interval is planned for (Browne
    1995, Statistics in Medicine 14, 1933).
    """
    if len(logs) < FEWEST_TESTED:
        return planned_runs(rule)
    df = len(logs) - 1
    limit = math.sqrt(df / float(special.chdtri(df, SPREAD_LIMIT)))
    return _runs(rule.log_margin, limit * float(np.std(logs, ddof=1)), rule, family)


def planned_runs(rule: Rule) -> int:
    """Runs of each strategy to plan before any spread is known, from a usual one.

    They find `PLANNED_EFFECT` (or the margin, where it is larger) at `PLANNED_SPREAD`. It is one
    number wherever runs are advised, whatever the comparison is a part of: how many more a
    correction for others costs is known when their spread is, and `runs_needed` says it then.
    """
    return _runs(max(math.log1p(PLANNED_EFFECT), rule.log_margin), PLANNED_SPREAD, rule, 1)


def _runs(effect: float, spread: float, rule: Rule, family: int) -> int:
    fewest = rule.fewest_pairs(family)
    if spread == 0:
        return fewest
    size, level = effect / spread, rule.planning_level(family)
    # The normal approximation is never above the answer, so the search may start there.
    normal = (special.ndtri(1 - level / 2) + special.ndtri(rule.power)) / size
    enough = max(fewest, min(MOST_RUNS, math.ceil(normal**2)))
    while enough < MOST_RUNS and not _power(size, enough, level) >= rule.power:
        enough += 1
    return min(enough, MOST_RUNS)


def _power(effect: float, pairs: int, level: float) -> float:
    """Chance that a two-sided t-test finds an effect of so many standard deviations."""
    df, shift = pairs - 1, effect * math.sqrt(pairs)
    critical = float(special.stdtrit(df, 1 - level / 2))
    missed = special.nctdtr(df, shift, critical) - special.nctdtr(df, shift, -critical)
    # Far out the noncentral t has no value in floating point: power is one there.
    return 1.0 if math.isnan(missed) else 1 - float(missed)


def excludes_margin(ratio: Interval, rule: Rule) -> bool:
    """Whether an interval lies beyond the margin on one side: more runs decide nothing then."""
    if ratio.low is None or ratio.high is None:
        return False
    return ratio.low > 1 + rule.margin or ratio.high < 1 / (1 + rule.margin)


def verdict(
    ratio: Interval,
    p: float | None,
    p_equivalence: float | None,
    *,
    alpha: float,
    higher_is_better: bool,
) -> ContrastVerdict:
    """Equivalent when shown to lie within the margin, else better or worse when shown to differ."""
    if p_equivalence is not None and p_equivalence <= alpha:
        return "equivalent"
    if p is None or p > alpha:
        return "undecided"
    return "better" if (ratio.value > 1) == higher_is_better else "worse"
