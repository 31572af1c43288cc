"""The published landscape's answers, and the rules for ties, unknown values and refusals."""

import pandas as pd
import pytest

from analysis.landscape.interpolate import interpolated, parse_knob
from analysis.landscape.objective import parse_objectives
from analysis.landscape.ranked_landscape import RankedLandscape, parse_criteria, rank_landscape
from analysis.landscape.ranking import RankingMethod, UnknownPolicy
from analysis.landscape.read import read_landscape
from catalog.errors import BadFile, BadValue


def chosen(
    frame: pd.DataFrame,
    *limits: str,
    small: tuple[str, ...] = (),
    large: tuple[str, ...] = (),
    how: RankingMethod | None = None,
    order: str | None = None,
    unknown: UnknownPolicy = "refuse",
    tie: float = 0.0,
    weights: tuple[str, ...] = (),
) -> RankedLandscape:
    objectives = parse_objectives(small, large, weights=weights)
    criteria = parse_criteria(objectives, limits, how=how, order=order, unknown=unknown, tie=tie)
    return rank_landscape(frame, criteria)


def method(found: RankedLandscape) -> object:
    return found.rows()[0]["method"] if found.chosen is not None else None


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return read_landscape("mixtral-a6000")


def test_fastest_token_within_16_gib_is_offloading_two_experts(published: pd.DataFrame) -> None:
    found = chosen(published, "gpu_memory_mib <= 16384 MiB", small=("tpot_s",))
    assert method(found) == "Mixtral-Offloading (expert=2)"


def test_fastest_token_within_12_gib_is_offloading_four_experts(published: pd.DataFrame) -> None:
    found = chosen(published, "gpu_memory_mib <= 12 GiB", small=("tpot_s",))
    assert method(found) == "Mixtral-Offloading (expert=4)"


def test_best_perplexity_within_a_second_a_token_is_a_tie_broken_by_the_stated_rule(
    published: pd.DataFrame,
) -> None:
    found = chosen(published, "tpot_s <= 1 s", small=("perplexity",))
    assert method(found) == "MoE-Infinity (mem=0.95)"
    assert any("tied with MoE-Infinity (mem=0.75)" in note for note in found.notes)
    thrifty = chosen(
        published,
        "tpot_s <= 1 s",
        small=("gpu_memory_mib", "perplexity"),
        how="lexicographic",
        order="perplexity,gpu_memory_mib",
    )
    assert method(thrifty) == "MoE-Infinity (mem=0.75)"


def test_largest_quality_is_smallest_perplexity_where_only_that_is_known(
    published: pd.DataFrame,
) -> None:
    found = chosen(published, "tpot_s <= 1 s", large=("quality",))
    assert method(found) == "MoE-Infinity (mem=0.95)"


def test_an_infeasible_ask_names_the_nearest_limit_that_would_do(published: pd.DataFrame) -> None:
    found = chosen(published, "gpu_memory_mib <= 5000 MiB", "perplexity < 10", small=("tpot_s",))
    assert found.chosen is None
    assert all(row["rank"] is None for row in found.rows())
    assert "gpu_memory_mib <= 8068 MiB instead of" in found.infeasible
    assert "Mixtral-Offloading (expert=6)" in found.infeasible


def test_limits_that_only_give_together_are_relaxed_together() -> None:
    frame = pd.DataFrame({"method": ["a", "b"], "x": [3.0, 9.0], "y": [3.0, 9.0]})
    found = chosen(frame, "x <= 2", "y <= 2", small=("x",))
    (way,) = found.choice.relaxations
    assert way.row == 0
    assert len(way.limits) == 2
    assert way.excess == pytest.approx(0.5)


def test_an_unknown_value_is_refused_and_says_so(published: pd.DataFrame) -> None:
    found = chosen(published, "gpu_memory_mib <= 6000 MiB", small=("perplexity",))
    rows = {row["method"]: row for row in found.rows()}
    assert found.chosen is None
    assert "perplexity unknown" in str(rows["Fiddler"]["rejected_because"])


def test_a_kept_unknown_value_ranks_after_every_known_one(published: pd.DataFrame) -> None:
    found = chosen(published, small=("perplexity",), unknown="keep")
    ranked = [row for row in found.rows() if row["rank"]]
    assert len(ranked) == len(published)
    assert ranked[-1]["method"] == "Fiddler"
    assert ranked[-1]["pareto"] is False


def test_values_within_the_tie_share_a_level() -> None:
    frame = pd.DataFrame({"method": ["a", "b", "c"], "x": [1.0, 1.01, 1.5], "y": [3.0, 1.0, 0.0]})
    found = chosen(frame, small=("x", "y"), how="lexicographic", tie=0.02)
    assert [row["method"] for row in found.rows()] == ["b", "a", "c"]


def test_weights_move_the_choice_along_the_front() -> None:
    frame = pd.DataFrame({"method": ["fast", "mid", "small"], "t": [0.0, 0.3, 1.0],
                          "m": [1.0, 0.3, 0.0]})  # fmt: skip
    assert method(chosen(frame, small=("t", "m"))) == "mid"
    fast = chosen(frame, small=("t", "m"), how="weighted", weights=("t=10", "m=1"))
    assert method(fast) == "fast"


def test_interpolation_lies_between_its_neighbours_and_is_marked(published: pd.DataFrame) -> None:
    frame = interpolated(published, parse_knob("expert=3,5"))
    made = frame[frame["derived"] != ""]
    assert list(made["method"]) == ["Mixtral-Offloading (expert=3)",
                                    "Mixtral-Offloading (expert=5)"]  # fmt: skip
    assert made["gpu_memory_mib"].iloc[0] == pytest.approx((15912 + 11964) / 2)
    assert (frame["derived"] == "").sum() == len(published)


@pytest.mark.parametrize("text", ["expert=1", "expert=8", "nothing=3"])
def test_nothing_is_guessed_beyond_the_measured_ends(published: pd.DataFrame, text: str) -> None:
    with pytest.raises(BadValue):
        interpolated(published, parse_knob(text))


def test_a_run_that_does_not_count_is_refused_with_its_reason() -> None:
    frame = pd.DataFrame({"method": ["a", "b"], "x": [1.0, 2.0], "verdict": ["invalid", "valid"],
                          "verdict_reasons": ["drift", ""]})  # fmt: skip
    found = chosen(frame, small=("x",))
    assert method(found) == "b"
    assert found.rows()[1]["rejected_because"] == "run invalid: drift"


def test_an_absent_column_is_named_with_a_near_one(published: pd.DataFrame) -> None:
    with pytest.raises(BadFile, match="did you mean tpot_s"):
        chosen(published, small=("tpot",))


def test_what_a_model_cannot_tell_from_the_choice_is_named_beside_it() -> None:
    rows = pd.DataFrame(
        {
            "provenance": "simulated",
            "strategy": ["tp", "ep", "dp2+ep"],
            "output_throughput": [100.0, 103.0, 90.0],
            "mean_ttft_ms": [50.0, 50.5, 40.0],
            "device_memory_bytes": [100.0, 101.0, 150.0],
        }
    )
    near = "the model cannot tell it from {}: estimates within 3.6 % are ties; measure these"
    fastest = chosen(rows, large=("output_throughput",))
    assert near.format("tp") in fastest.notes
    apart = (
        chosen(rows, small=("mean_ttft_ms",)),
        chosen(rows, small=("device_memory_bytes",)),
        chosen(rows.assign(provenance="measured"), large=("output_throughput",)),
    )
    assert not [note for each in apart for note in each.notes if "cannot tell" in note]
