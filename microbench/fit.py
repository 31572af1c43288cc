"""The line t = t₀ + bytes / BW through measured points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfmodel.arrays import FloatArray

FEWEST = 4
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class LineFit:
    """Fixed time and effective bandwidth, with 95 % bootstrap intervals over the points."""

    points: int
    t0_s: float
    t0_low_s: float
    t0_high_s: float
    bytes_per_s: float
    bytes_per_s_low: float
    bytes_per_s_high: float
    rms_residual: float
    """Root mean square of (fitted - measured) / measured."""
    worst_residual: float


def fit_line(moved_bytes: Sequence[float], seconds: Sequence[float]) -> LineFit | None:
    """Fit with relative residuals, so that every point weighs alike; t₀ is never negative.

    None where there are under four points or time does not grow with the bytes.
    """
    x, t = np.asarray(moved_bytes, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if len(x) < FEWEST or len(np.unique(x)) < 3:
        return None
    t0, slope = _solve(x, t)
    if slope <= 0:
        return None
    rng = np.random.default_rng(0)
    drawn = np.array([_resampled(x, t, rng) for _ in range(RESAMPLES)])
    drawn = drawn[drawn[:, 1] > 0]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    residual = (t0 + slope * x) / t - 1
    return LineFit(
        points=len(x),
        t0_s=t0,
        t0_low_s=float(low[0]),
        t0_high_s=float(high[0]),
        bytes_per_s=1 / slope,
        bytes_per_s_low=float(1 / high[1]),
        bytes_per_s_high=float(1 / low[1]),
        rms_residual=float(np.sqrt(np.mean(residual**2))),
        worst_residual=float(np.abs(residual).max()),
    )


def _resampled(x: FloatArray, t: FloatArray, rng: np.random.Generator) -> tuple[float, float]:
    chosen = rng.integers(len(x), size=len(x))
    if len(np.unique(x[chosen])) < 2:
        return 0.0, 0.0
    return _solve(x[chosen], t[chosen])


def _solve(x: FloatArray, t: FloatArray) -> tuple[float, float]:
    """Least squares of (t₀ + x s) / t = 1 with t₀ >= 0: (t₀, s)."""
    scale = float(x.max())
    rows = np.stack([1 / t, x / scale / t], axis=1)
    (t0, slope), *_ = np.linalg.lstsq(rows, np.ones(len(t)), rcond=None)
    if t0 < 0:
        ratio = x / scale / t
        t0, slope = 0.0, float(ratio.sum() / (ratio**2).sum())
    return float(t0), float(slope) / scale
