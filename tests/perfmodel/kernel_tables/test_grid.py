"""Interpolation meets what was measured, stays between neighbours, and says nothing beyond."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.kernel_tables.grid import measured

SECONDS = st.floats(1e-7, 10)
SIZES = st.lists(st.integers(1, 10**6), min_size=2, max_size=8, unique=True)


@pytest.mark.slow
@given(sizes=SIZES, data=st.data(), share=st.floats(0, 1))
def test_between_two_points_a_time_is_between_theirs_and_on_a_point_it_is_the_point_s(
    sizes: list[int], data: st.DataObject, share: float
) -> None:
    ordered = np.array(sorted(sizes), dtype=float)
    times = np.array(data.draw(st.lists(SECONDS, min_size=len(sizes), max_size=len(sizes))))
    curve = measured([ordered], times)
    assert curve is not None
    assert curve.at(ordered) == pytest.approx(times, rel=1e-9)
    between = float(curve.at(ordered[0] ** (1 - share) * ordered[1] ** share))
    if np.isfinite(between):  # rounding may put an end just outside
        low, high = sorted(times[:2])
        assert low * (1 - 1e-9) <= between <= high * (1 + 1e-9)


def test_a_power_law_is_met_exactly_in_every_variable() -> None:
    n, k, m = (each.ravel() for each in np.meshgrid([64.0, 512], [32.0, 256, 1024], [1.0, 8, 64]))
    grid = measured([n, k, m], 1e-9 * n**0.5 * k * m**0.25)
    assert grid is not None
    expected = 1e-9 * 100**0.5 * 300 * np.array([2.0, 50]) ** 0.25
    assert grid.at(100, 300, np.array([2.0, 50])) == pytest.approx(expected)


@pytest.mark.parametrize("where", [(0.5, 4), (1, 3), (9, 4), (4, 17)])
def test_beyond_what_was_measured_there_is_no_time(where: tuple[float, float]) -> None:
    batch, length = np.array([1.0, 1, 8, 8]), np.array([4.0, 16, 4, 16])
    grid = measured([batch, length], np.full(4, 1e-3))
    assert grid is not None
    assert np.isnan(grid.at(*where))


def test_between_two_curves_only_what_both_measured_is_known() -> None:
    batch, length = np.array([1.0, 1, 8, 8]), np.array([4.0, 16, 4, 8])
    grid = measured([batch, length], np.full(4, 1e-3))
    assert grid is not None
    found = grid.at(2, np.array([4.0, 8, 9]))
    assert np.isfinite(found).tolist() == [True, True, False]


def test_of_a_point_measured_more_than_once_the_median_counts() -> None:
    curve = measured([np.array([2.0, 4, 2, 2])], np.array([9.0, 5, 1, 3]))
    assert curve is not None
    assert float(curve.at(2)) == pytest.approx(3)
    assert measured([np.array([])], np.array([])) is None
