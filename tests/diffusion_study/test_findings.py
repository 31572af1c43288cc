"""Ratios, proportionality and the verdict, from rows alone."""

import pytest

from diffusion_study.findings import (
    Ratio,
    Row,
    ratios,
    steps_spread,
    verdict,
    with_ratios,
)


def row(model: str, experts: str, steps: int, length: int, latency_s: float) -> Row:
    return {
        "model": model,
        "kind": "dense" if experts == "none" else "moe",
        "steps": steps,
        "generation_length": length,
        "experts_implementation": experts,
        "sweep": "steps",
        "kv_cache": "none",
        "commit_above": None,
        "forward_passes": steps,
        "median_pass_ms": latency_s / steps * 1e3,
        "active_params": 100 if model == "near" or experts != "none" else 800,
        "dense_over_moe": None,
        "dense_active_params": None,
    }


def test_the_published_table_is_inversely_proportional_to_steps_within_two_percent() -> None:
    # Table VII: 99.1, 49.5 and 24.3 tokens per second at 32, 64 and 128 steps.
    measured = ((32, 99.1), (64, 49.5), (128, 24.3))
    rows = [row("d", "none", steps, 128, 128 / rate) for steps, rate in measured]
    assert steps_spread(rows) == {("d", "none"): pytest.approx(0.0196, abs=0.001)}
    assert steps_spread(rows[:1]) == {}


def test_an_moe_model_is_compared_with_the_dense_one_of_nearest_active_parameters() -> None:
    rows = [
        row("far", "none", 32, 128, 9.0),
        row("near", "none", 32, 128, 1.0),
        row("near", "none", 64, 128, 2.0),
        row("m", "loop", 32, 128, 5.0),
        row("m", "loop", 64, 128, 10.0),
        row("m", "grouped", 32, 128, 1.25),
        row("m", "grouped", 64, 128, 2.5),
        row("m", "grouped", 128, 128, 5.0),
    ]
    full = with_ratios(rows)
    assert [each["dense_over_moe"] for each in full] == [None] * 3 + [5.0, 5.0, 1.25, 1.25, None]
    loop, grouped = ratios(full)
    assert (loop.mean, loop.active) == (pytest.approx(5.0), 1.0)
    assert (grouped.least, grouped.most) == (1.25, 1.25)
    told = verdict([loop, grouped])
    assert "the loop costs a factor of 4.00 here, and 1.25 is left" in told
    assert "not told apart" in told
    assert verdict([grouped]) == ""


def test_a_loop_within_the_others_spread_is_given_no_cost() -> None:
    loop = Ratio("m", "loop", mean=2.1, least=1.8, most=2.4, active=1.0)
    grouped = Ratio("m", "grouped", mean=2.0, least=1.7, most=2.3, active=1.0)
    told = verdict([loop, grouped])
    assert "not shown" in told
    assert "factor" not in told


def test_where_the_loop_is_fastest_nothing_is_blamed_on_it() -> None:
    rows = [
        row("near", "none", 32, 128, 1.0),
        row("m", "loop", 32, 128, 2.0),
        row("m", "grouped", 32, 128, 3.0),
    ]
    assert verdict(ratios(with_ratios(rows))) == ""
