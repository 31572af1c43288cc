"""Arrival processes: the instants at which an open loop sends, drawn whole before the run."""

import math

import numpy as np

from workloads.load.rate_curve import RateCurve
from workloads.transcript import Seconds


def due_times(
    rng: np.random.Generator,
    count: int,
    *,
    rate_per_s: float,
    burstiness: float = 1.0,
    curve: RateCurve | None = None,
) -> Seconds:
    """Draw `count` due times in seconds from the start of the run, the first gap included.

    Gaps are gamma distributed with shape `burstiness` and mean 1/rate, as `vllm bench serve`
    defines burstiness: their coefficient of variation is 1/√burstiness. So 1 is a Poisson
    process, below 1 arrivals come in bursts, above 1 they are more even, and inf is a constant
    gap. An infinite rate makes everything due at 0. With a `curve` the rate is its multiple.
    """
    if curve is not None and math.isfinite(rate_per_s):
        even = due_times(rng, count, rate_per_s=rate_per_s, burstiness=burstiness)
        return curve.times_of(even)
    if count < 0 or not rate_per_s > 0 or not burstiness > 0:
        raise ValueError(f"{count=}, {rate_per_s=} and {burstiness=} must be positive")
    if math.isinf(rate_per_s):
        return np.zeros(count)
    mean_gap_s = 1 / rate_per_s
    if math.isinf(burstiness):
        return mean_gap_s * np.arange(1, count + 1, dtype=np.float64)
    return np.cumsum(rng.gamma(burstiness, mean_gap_s / burstiness, count))
