"""Intervals of means and of ratios of means, from few independent values."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

RESAMPLES = 4999


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its bounds; bounds are None where the data cannot give them."""

    value: float
    low: float | None
    high: float | None
    n: int
    """Independent values the interval rests on."""


def mean_interval(values: np.ndarray, *, level: float = 0.95) -> Interval:
    """Ȳ ± t·s/√n."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, None, None, n)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - half, mean + half, n)


def positive_mean_interval(values: np.ndarray, *, level: float = 0.95) -> Interval:
    """Ȳ·exp(± t·s/(√n·Ȳ)): the mean's t-interval on the log scale, never below zero.

    By the delta method the standard error of log Ȳ is that of Ȳ over Ȳ. Values that are not all
    above zero have no logarithm: their interval is `mean_interval`.
    """
    found = mean_interval(values, level=level)
    if found.low is None or not (values > 0).all():
        return found
    half = math.exp((found.value - found.low) / found.value)
    return Interval(found.value, found.value / half, found.value * half, found.n)


def positive_ratio_of_means(
    over: np.ndarray, under: np.ndarray, *, level: float = 0.95
) -> Interval:
    """Ȳ/X̄ of pairs with a t-interval on the log scale, never below zero.

    The standard error of log(Ȳ/X̄) is, by the delta method, that of the mean of
    y_i/Ȳ − x_i/X̄ over the pairs (Cochran, Sampling Techniques, 1977, 6.3).
    """
    n, x, y = len(over), float(np.mean(under)), float(np.mean(over))
    if n < 2 or not ((over > 0).all() and (under > 0).all()):
        return ratio_of_means(over, under, level=level)
    error = float(np.std(over / y - under / x, ddof=1)) / math.sqrt(n)
    half = math.exp(float(special.stdtrit(n - 1, (1 + level) / 2)) * error)
    return Interval(y / x, y / x / half, y / x * half, n)


def ratio_of_means(over: np.ndarray, under: np.ndarray, *, level: float = 0.95) -> Interval:
    """Ȳ/X̄ of pairs, with Fieller's interval: every ρ whose paired t-test of y − ρ·x passes.

    Bounds solve (X̄² − h·s_x²)·ρ² − 2·(X̄Ȳ − h·s_xy)·ρ + (Ȳ² − h·s_y²) = 0 with h = t²/n
    (Fieller 1954); there are none when X̄ itself is not distinguishable from zero.
    """
    n, x, y = len(over), float(np.mean(under)), float(np.mean(over))
    if x == 0:
        return Interval(math.nan, None, None, n)
    if n < 2:
        return Interval(y / x, None, None, n)
    (var_y, cov), (_, var_x) = np.cov(over, under)
    h = float(special.stdtrit(n - 1, (1 + level) / 2)) ** 2 / n
    a, b, c = x * x - h * var_x, x * y - h * cov, y * y - h * var_y
    if a <= 0:
        return Interval(y / x, None, None, n)
    # Rounding can put an exact zero (all ratios equal) just below it.
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Interval(y / x, (b - root) / a, (b + root) / a, n)


def resampled_ratio(over: np.ndarray, under: np.ndarray, *, level: float = 0.95) -> Interval:
    """Ȳ/X̄ of pairs with the percentile bootstrap's interval, pairs drawn together."""
    below, n = float(under.mean()), len(over)
    value = float(over.mean()) / below if below else math.nan
    if n < 2 or math.isnan(value):
        return Interval(value, None, None, n)
    from scipy import stats  # slow to load, and hardly ever needed

    found = stats.bootstrap(
        (over, under),
        lambda y, x, axis: y.mean(axis=axis) / x.mean(axis=axis),
        paired=True,
        vectorized=True,
        confidence_level=level,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high), n)


def log_interval(logs: np.ndarray, *, level: float = 0.95) -> Interval:
    """exp of the t-interval of logarithms: a geometric mean, or a ratio from log-ratios."""
    found = mean_interval(logs, level=level)
    low = None if found.low is None else math.exp(found.low)
    high = None if found.high is None else math.exp(found.high)
    return Interval(math.exp(found.value), low, high, found.n)
