"""What repeated timings of one point say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ENOUGH_FOR_P99 = 100
"""Fewer samples hold no point beyond their 99th percentile."""


@dataclass(frozen=True, slots=True)
class TimingSummary:
    """Seconds; all processes pooled."""

    samples: int
    mean_s: float
    median_s: float
    median_low_s: float
    median_high_s: float
    """95 % interval of the median."""
    std_s: float | None
    p99_s: float | None
    process_medians_s: tuple[float, ...]

    @property
    def process_spread(self) -> float | None:
        """Range of the processes' own medians over the pooled one; None with one process."""
        if len(self.process_medians_s) < 2:
            return None
        return (max(self.process_medians_s) - min(self.process_medians_s)) / self.median_s


def summarise(processes: Sequence[Sequence[float]]) -> TimingSummary:
    """Summarise the samples of one or more processes."""
    pooled = np.sort(np.concatenate([np.asarray(each, dtype=np.float64) for each in processes]))
    low, high = _median_ranks(len(pooled))
    return TimingSummary(
        samples=len(pooled),
        mean_s=float(pooled.mean()),
        median_s=float(np.median(pooled)),
        median_low_s=float(pooled[low]),
        median_high_s=float(pooled[high]),
        std_s=float(pooled.std(ddof=1)) if len(pooled) > 1 else None,
        p99_s=float(np.percentile(pooled, 99)) if len(pooled) >= ENOUGH_FOR_P99 else None,
        process_medians_s=tuple(float(np.median(each)) for each in processes),
    )


def _median_ranks(count: int) -> tuple[int, int]:
    """Ranks whose order statistics hold the median with 95 %, whatever the distribution.

    Largest r with P(Binomial(n, 1/2) < r) <= 2.5 %: Conover, Practical Nonparametric Statistics,
    3.2. Below six samples the range itself covers less.
    """
    total, rank = 0.0, 0
    for k in range(count):
        total += math.exp(
            math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        ) * math.exp(-count * math.log(2))
        if total > 0.025:
            break
        rank = k
    return rank, count - 1 - rank
