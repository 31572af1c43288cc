"""The line, the bounds, the statistics of repeated timings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microbench.bound import Ceilings, expected, reached
from microbench.fit import fit_line
from microbench.timing_summary import summarise

CEILINGS = Ceilings(copy_bytes_per_s=50e9, read_bytes_per_s=100e9, flops_per_s=1e12)


@pytest.mark.slow
@settings(max_examples=15)  # each draws a thousand bootstrap samples
@given(st.floats(0, 1e-2), st.floats(1e9, 1e13))
def test_a_line_s_own_constants_are_recovered(t0_s: float, pace: float) -> None:
    moved = np.linspace(1e6, 1e9, 8)
    fit = fit_line(moved.tolist(), (t0_s + moved / pace).tolist())
    assert fit is not None
    longest = t0_s + 1e9 / pace
    assert fit.t0_s == pytest.approx(t0_s, abs=1e-7 * longest)
    assert (1e9 / fit.bytes_per_s) == pytest.approx(1e9 / pace, abs=1e-6 * longest)
    assert fit.worst_residual < 1e-6


def test_the_paper_s_two_latencies_lie_on_the_line_of_its_reanalysis() -> None:
    """t = 0.263 ms + 0.991 µs · I goes through 0.77 ms at 512 and 6.35 ms at 6144."""
    widths = np.array([512, 1024, 2048, 4096, 6144])
    moved = 128 * 3 * 2048 * widths * 2.0
    fit = fit_line(moved.tolist(), (0.263e-3 + 0.991e-6 * widths).tolist())
    assert fit is not None
    assert fit.t0_s == pytest.approx(0.263e-3)
    assert fit.bytes_per_s == pytest.approx(1.59e12, rel=0.01)


def test_noise_leaves_the_truth_inside_the_interval() -> None:
    rng = np.random.default_rng(1)
    moved = np.linspace(1e6, 1e8, 30)
    seconds = (1e-3 + moved / 30e9) * rng.normal(1, 0.03, 30)
    fit = fit_line(moved.tolist(), seconds.tolist())
    assert fit is not None
    assert fit.bytes_per_s_low < 30e9 < fit.bytes_per_s_high
    assert fit.t0_low_s < 1e-3 < fit.t0_high_s


def test_a_fixed_time_is_never_negative() -> None:
    fit = fit_line([1e6, 2e6, 4e6, 8e6], [1e-4, 2.5e-4, 5.5e-4, 11.5e-4])
    assert fit is not None
    assert fit.t0_s == 0


@pytest.mark.parametrize(
    ("moved", "seconds"),
    [([1e6, 2e6, 3e6], [1.0, 2.0, 3.0]), ([1e6, 2e6, 3e6, 4e6], [4.0, 3.0, 2.0, 1.0])],
)
def test_too_few_points_or_falling_times_give_no_line(
    moved: list[float], seconds: list[float]
) -> None:
    assert fit_line(moved, seconds) is None


@pytest.mark.parametrize(
    ("weight_bytes", "flops", "seconds", "bound"),
    [
        (100e9, 1e9, 1.1, "memory"),
        (1e9, 1e12, 1.1, "compute"),
        (100e9, 1e9, 2.0, "neither"),
        (100e9, 1e9, 0.5, "above ceiling"),
    ],
)
def test_a_point_is_bound_by_the_ceiling_it_comes_near(
    weight_bytes: float, flops: float, seconds: float, bound: str
) -> None:
    cost = CEILINGS.roofline(int(weight_bytes), int(flops))
    assert reached(cost, seconds) == bound


def test_the_faster_pattern_is_the_bandwidth_ceiling() -> None:
    cost = CEILINGS.roofline(int(100e9), int(1e9))
    assert cost.memory_s == pytest.approx(1.0)
    assert expected(cost) == "memory"
    assert expected(CEILINGS.roofline(int(1e9), int(1e12))) == "compute"


def test_the_median_s_interval_is_that_of_the_binomial_table() -> None:
    """n = 100: the 40th and 61st values (Conover, Practical Nonparametric Statistics)."""
    found = summarise([[float(i) for i in range(1, 101)]])
    assert (found.median_low_s, found.median_high_s) == (40, 61)
    assert found.median_s == 50.5
    assert found.p99_s == pytest.approx(99.01)


def test_few_samples_have_no_99th_percentile() -> None:
    assert summarise([[1.0] * 99]).p99_s is None


def test_the_spread_between_processes_is_that_of_their_medians() -> None:
    found = summarise([[1.0, 1.0, 1.0], [1.2, 1.2, 1.2]])
    assert found.process_spread == pytest.approx(0.2 / 1.1)
    assert summarise([[1.0, 2.0]]).process_spread is None
