"""Crossovers of ratios put on straight lines: the load, its interval, the sides, the words."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.crossover import STEPS, Crossover, crossovers
from analysis.question import ComparisonSpec
from analysis.statistics.contrast import Rule

LOADS = (1, 2, 4, 8)
STEP = 3 / (STEPS - 1)


def table(
    gain: Callable[[float], float], shifts: Sequence[float], loads: Sequence[int] = LOADS
) -> pd.DataFrame:
    """One block for each shift; log(ep/tp) is the gain at log₂ of the load, and the shift."""
    rows = [
        {
            "model": "m", "workload": "w", "max_concurrency": load, "strategy": strategy,
            "block": block,
            "output_throughput": 100 * load**0.5
            * np.exp(gain(np.log2(load)) + shift if strategy == "ep" else 0.0),
        }
        for block, shift in enumerate(shifts)
        for load in loads
        for strategy in ("tp", "ep")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def of(frame: pd.DataFrame, **spec: object) -> list[Crossover]:
    return crossovers(frame, ComparisonSpec(reference="tp", **spec))  # type: ignore[arg-type]


@pytest.mark.parametrize(("level", "t"), [(0.05, 4.302653), (0.10, 2.919986)])
def test_the_interval_holds_the_loads_at_which_a_t_test_sees_no_difference(
    level: float, t: float
) -> None:
    (found,) = of(table(lambda x: 0.2 * (x - 1.5), (-0.02, 0.0, 0.02)), rule=Rule(alpha=level))
    # Spread 0.02 of three blocks: the mean is zero within t·0.02/√3, at a slope of 0.2.
    half = t * 0.02 / np.sqrt(3) / 0.2
    assert stats.t.ppf(1 - level / 2, 2) == pytest.approx(t, abs=1e-6)
    assert np.log2(found.load) == pytest.approx(1.5)
    assert np.log2(found.low) == pytest.approx(1.5 - half, abs=STEP)
    assert np.log2(found.high) == pytest.approx(1.5 + half, abs=STEP)
    assert (found.blocks, found.note) == (3, "")


def test_two_runs_a_point_have_an_interval_and_one_has_none() -> None:
    # Student's t of one degree of freedom is 12.7062: half is that · 0.002·√2/√2 / 0.2.
    (two,) = of(table(lambda x: 0.2 * (x - 1.5), (-0.002, 0.002)))
    half = 12.7062 * 0.002 * np.sqrt(2) / np.sqrt(2) / 0.2
    assert np.log2(two.low) == pytest.approx(1.5 - half, abs=STEP)
    assert two.note == ""
    (one,) = of(table(lambda x: 0.2 * (x - 1.5), (0.0,)))
    assert (one.low, one.high, one.blocks) == (None, None, 1)
    assert "one run a point" in one.note


def test_blocks_that_repeat_one_number_have_no_interval() -> None:
    (found,) = of(table(lambda x: 0.2 * (x - 1.5), (0.01,) * 4))
    assert (found.low, found.high) == (None, None)
    assert "repeat one number" in found.note
    (ahead,) = of(table(lambda _: 0.1, (0.0,) * 4))
    assert "untested: the replicates repeat one number" in ahead.note


def test_of_two_crossings_each_has_its_sides() -> None:
    # Behind, ahead, behind again: zero at half of the first step and of the last.
    found = of(table(lambda x: {0: -0.1, 1: 0.1, 2: 0.1, 3: -0.1}[round(x)], (-1e-4, 0, 1e-4)))
    assert [each.load for each in found] == pytest.approx([2**0.5, 2**2.5])
    assert [(c.better_below, c.better_above) for c in found] == [("tp", "ep"), ("ep", "tp")]
    assert all(each.low < each.load < each.high for each in found)


def test_for_a_latency_the_sides_are_turned_round() -> None:
    rows = table(lambda x: 0.2 * (x - 1.5), (0.0, 1e-4))
    rows = rows.rename(columns={"output_throughput": "mean_itl_ms"})
    (found,) = of(rows, response="mean_itl_ms")
    assert (found.better_below, found.better_above) == ("ep", "tp")


def test_a_zero_at_a_measured_load_is_a_crossing_once_and_a_touch_is_none() -> None:
    (found,) = of(table(lambda x: 0.1 * (x - 1), (0.0, 0.0)))
    assert found.load == pytest.approx(2.0)
    (touch,) = of(table(lambda x: 0.1 * abs(x - 1), (0.0, 0.0)))
    assert touch.load is None
    assert (touch.better_below, touch.better_above) == ("ep", "ep")


def test_an_interval_that_reaches_an_end_is_open_there() -> None:
    (low,) = of(table(lambda x: 0.2 * (x - 0.1), (-0.02, 0.0, 0.02)))
    assert low.low is None
    assert low.high is not None
    (high,) = of(table(lambda x: 0.2 * (x - 2.9), (-0.02, 0.0, 0.02)))
    assert low.note == high.note == "the interval is open: it goes beyond the measured loads"
    assert high.high is None
    (both,) = of(table(lambda x: 0.002 * (x - 1.5), (-0.02, 0.0, 0.02)))
    assert "do not show a crossover" in both.note


@pytest.mark.parametrize(("shift", "ahead"), [(0.1, "ep"), (-0.1, "tp")])
def test_where_nothing_crosses_the_one_ahead_is_named(shift: float, ahead: str) -> None:
    (found,) = of(table(lambda x: 0.01 * x, (shift,)))
    assert (found.load, found.better_below, found.better_above) == (None, ahead, ahead)
    told = f"no crossover in concurrency 1 to 8: {ahead} is ahead at every load"
    assert found.note == f"{told}, untested: too few blocks hold them all"


def test_one_load_or_no_shared_block_is_not_enough() -> None:
    (one,) = of(pd.concat([
        table(lambda x: 0.1, (0.0,), (1,)), table(lambda x: 0.1, (0.0,), (2,)).iloc[:1],
    ]))  # fmt: skip
    assert one.note.startswith("not sought: 1 loads have pairs")
    assert (one.load, one.blocks, one.better_below) == (None, 0, "")
    holes = table(lambda x: 0.2 * (x - 1.5), (0.0, 0.0))
    first = (holes["block"] == 0) & (holes["max_concurrency"] == 1)
    last = (holes["block"] == 1) & (holes["max_concurrency"] == 8)
    (found,) = of(holes[~first & ~last])
    assert found.load == pytest.approx(2**1.5), "every pair counts for its load's mean"
    assert (found.blocks, found.note) == (0, "no block holds every load: no interval")
