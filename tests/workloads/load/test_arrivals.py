"""The drawn schedules have the law they claim; bounds are four standard errors of the estimate."""

import math

import numpy as np
import pytest
from scipy import stats

from workloads.load.arrivals import due_times

COUNT = 20_000
RATE = 50.0


def gaps(burstiness: float, seed: int = 1) -> np.ndarray:
    due = due_times(np.random.default_rng(seed), COUNT, rate_per_s=RATE, burstiness=burstiness)
    return np.diff(due, prepend=0.0)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_have_the_asked_mean_and_variation(burstiness: float) -> None:
    drawn = gaps(burstiness)
    variation = 1 / math.sqrt(burstiness)
    assert drawn.mean() * RATE == pytest.approx(1, abs=4 * variation / math.sqrt(COUNT))
    kurtosis = 6 / burstiness
    error = variation * math.sqrt((kurtosis + 2) / (4 * COUNT) + variation**2 / COUNT)
    assert drawn.std() / drawn.mean() == pytest.approx(variation, abs=4 * error)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_follow_the_gamma_law(burstiness: float) -> None:
    law = stats.gamma(burstiness, scale=1 / (RATE * burstiness))
    assert stats.kstest(gaps(burstiness), law.cdf).pvalue > 1e-3


def test_poisson_counts_are_dispersed_as_much_as_their_mean() -> None:
    due = np.cumsum(gaps(1.0))
    counts = np.bincount(due.astype(int))[:-1]
    dispersion = counts.var(ddof=1) / counts.mean()
    assert dispersion == pytest.approx(1, abs=4 * math.sqrt(2 / (len(counts) - 1)))


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_a_gap_tells_nothing_of_the_next(burstiness: float) -> None:
    drawn = gaps(burstiness)
    correlation = np.corrcoef(drawn[:-1], drawn[1:])[0, 1]
    assert abs(correlation) < 4 / math.sqrt(COUNT)


def test_streams_of_spawned_generators_are_unrelated() -> None:
    first, second = (
        np.diff(due_times(child, COUNT, rate_per_s=RATE))
        for child in np.random.default_rng(7).spawn(2)
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(COUNT)


def test_a_constant_rate_is_constant_and_draws_nothing() -> None:
    due = due_times(np.random.default_rng(0), 4, rate_per_s=2.0, burstiness=math.inf)
    assert due.tolist() == [0.5, 1.0, 1.5, 2.0]


def test_an_infinite_rate_makes_everything_due_at_once() -> None:
    assert due_times(np.random.default_rng(0), 3, rate_per_s=math.inf).tolist() == [0, 0, 0]


def test_the_same_generator_draws_the_same_schedule() -> None:
    assert np.array_equal(gaps(1.0, seed=5), gaps(1.0, seed=5))


@pytest.mark.parametrize(
    ("rate", "burstiness"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (math.nan, 1.0)]
)
def test_a_senseless_law_is_refused(rate: float, burstiness: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        due_times(np.random.default_rng(0), 1, rate_per_s=rate, burstiness=burstiness)


def test_arrivals_are_a_poisson_process_unless_told_otherwise() -> None:
    drawn = due_times(np.random.default_rng(3), 50, rate_per_s=2.0)
    same = due_times(np.random.default_rng(3), 50, rate_per_s=2.0, burstiness=1.0)
    assert drawn.tolist() == same.tolist()
    # A Poisson process of rate 2: the sum of 50 exponentials of mean 1/2.
    exponential = np.random.default_rng(3).gamma(1.0, 0.5, 50)
    assert drawn[-1] == pytest.approx(exponential.sum())
