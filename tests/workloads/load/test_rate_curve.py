"""Rates that change: arrivals follow the curve, whatever their burstiness."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from workloads.load.arrivals import due_times
from workloads.load.rate_curve import parse_curve


def rates(text: str, edges: list[float], *, rate: float = 50.0) -> list[float]:
    """Arrivals a second between the edges, of many."""
    rng = np.random.default_rng(0)
    due_s = due_times(rng, 60_000, rate_per_s=rate, curve=parse_curve(text))
    counts, _ = np.histogram(due_s, edges)
    return list(counts / np.diff(edges))


def test_steps_are_kept_and_begin_anew() -> None:
    found = rates("steps:1x10,4x5,0x5", [0, 10, 15, 20, 30, 35])
    assert found == pytest.approx([50, 200, 0, 50, 200], rel=0.15, abs=0.01)


def test_a_ramp_rises_and_then_stays() -> None:
    found = rates("ramp:0.5-2x100", [0, 10, 90, 100, 200, 300])
    assert found == pytest.approx([28.75, 62.5, 96.25, 100, 100], rel=0.15)


def test_a_wave_begins_at_its_lowest_and_has_its_mean() -> None:
    found = rates("diurnal:0.2-1.8x100", [0, 5, 47.5, 52.5, 95, 100, 105])
    assert found[0] == pytest.approx(50 * 0.2, rel=0.3)
    assert found[2] == pytest.approx(50 * 1.8, rel=0.1)
    whole = rates("diurnal:0.2-1.8x100", [0, 100, 200])
    assert whole == pytest.approx([50, 50], rel=0.05)


@pytest.mark.slow
@given(
    st.sampled_from(["steps:1x3,2x2", "ramp:0-2x7", "ramp:3-1x4", "diurnal:0-2x5"]),
    st.lists(st.floats(0.001, 50), min_size=1, max_size=20),
)
def test_the_integral_up_to_an_arrival_is_its_amount(text: str, amounts: list[float]) -> None:
    curve, asked = parse_curve(text), np.sort(np.array(amounts))
    found = curve.times_of(asked)
    assert (np.diff(found) >= -1e-9).all()
    for amount, until_s in zip(asked, found, strict=True):
        grid = np.linspace(0, until_s, 20_001)
        inside = np.mod(grid, curve.times_s[-1]) if curve.again else grid
        rate = np.interp(inside, curve.times_s, curve.factors)
        assert np.trapezoid(rate, grid) == pytest.approx(amount, rel=0.01, abs=0.01)


@pytest.mark.parametrize(
    "text",
    ["", "steps:", "steps:1x0", "steps:0x5", "ramp:1-0x5", "ramp:0-0x5", "wave:1-2x3", "steps:ax3",
     "diurnal:0-0x5", "ramp:1-2x0", "steps:1x5,"],
)  # fmt: skip
def test_what_is_no_curve_or_never_sends_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="steps:1x60"):
        parse_curve(text)
