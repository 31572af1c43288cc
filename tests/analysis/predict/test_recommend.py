"""A recommendation says how it was derived, how sure it is, and what to measure next."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from analysis.predict.cases import Cases
from analysis.predict.predictor import Predictor, fit
from analysis.predict.read import read_cases
from analysis.predict.recommend import Recommendation, RecommendationRequest, recommend
from analysis.predict.steady_state import Demand, serving, steady_state
from analysis.predict.switching import recommendations, stretches_of
from catalog.errors import BadValue, Infeasible
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import calibration
from perfmodel.simulate import simulate
from strategies.parse import parse_layout, parse_layouts

DEMAND = Demand(input_len=128, output_len=64, num_prompts=64, max_concurrency=16)
QUESTION = RecommendationRequest(model("OLMoE-1B-7B"), gpu("H100"), 2, DEMAND)


def measured(*rates: tuple[str, int, float]) -> Cases:
    return read_cases(
        pd.DataFrame(
            {
                "provenance": "measured",
                "model": "OLMoE-1B-7B",
                "strategy": strategy,
                "gpu_type": "H100",
                "input_len": 128,
                "output_len": 64,
                "num_prompts": 64,
                "max_concurrency": load,
                "output_throughput": rate,
            }
            for strategy, load, rate in rates
        )
    )


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    rates = [("tp", 8, 100.0), ("ep", 8, 200.0), ("tp", 32, 400.0), ("ep", 32, 800.0)]
    return fit(measured(*rates), objective="throughput")


@pytest.mark.parametrize("strategy", ["tp", "ep"])
def test_the_closed_form_is_near_the_simulation_it_stands_for(strategy: str) -> None:
    on = serving(QUESTION.model, parse_layout(strategy), QUESTION.gpu, longest=192, constants=None)
    lengths = [(128, 64)] * 64
    result = simulate(ClosedLoop(64, 16), lengths, on.step_model, limits=on.limits)
    simulated = 64 * 64 / float(result.done_s.max())
    assert steady_state(on, DEMAND).output_throughput == pytest.approx(simulated, rel=0.1)


def test_without_a_predictor_the_answer_is_analytic_and_says_so() -> None:
    found = recommend(QUESTION)
    assert {option.source for option in found.options} == {"analytic"}
    assert any("analytic model alone" in note for note in found.notes)
    assert sum(option.probability for option in found.options) == pytest.approx(1.0)


def test_the_best_option_comes_first_with_the_least_regret() -> None:
    found = recommend(replace(QUESTION, gpus=4))
    assert found.options[0].value == max(option.value for option in found.options)
    assert found.options[0].regret == min(option.regret for option in found.options)
    assert all(option.low < option.value < option.high for option in found.options)


@pytest.mark.slow
def test_what_was_measured_is_returned_as_measured(predictor: Predictor) -> None:
    demand = replace(DEMAND, max_concurrency=8)
    found = recommend(replace(QUESTION, demand=demand), predictor)
    best = found.options[0]
    assert (best.strategy, best.source) == ("ep", "measured")
    assert best.value == pytest.approx(200.0)
    assert best.low < best.value < best.high < best.low * 1.2  # one run: its variation is assumed
    assert best.probability > 0.9  # of those measured it is the best, the rest is not known


def test_between_two_measured_loads_the_answer_is_interpolated(predictor: Predictor) -> None:
    best = recommend(QUESTION, predictor).options[0]
    assert (best.strategy, best.source) == ("ep", "interpolated")
    assert best.value == pytest.approx(400.0)


def test_beyond_the_measured_loads_the_answer_is_predicted(predictor: Predictor) -> None:
    demand = replace(DEMAND, max_concurrency=64)
    found = recommend(replace(QUESTION, demand=demand), predictor)
    assert {option.source for option in found.options} == {"predicted"}


def test_three_runs_are_named_and_none_was_measured(predictor: Predictor) -> None:
    assert len(recommend(QUESTION).next_runs) == 3
    demand = replace(DEMAND, max_concurrency=8)
    assert ("ep", 8) not in recommend(replace(QUESTION, demand=demand), predictor).next_runs


def test_only_the_layouts_asked_about_are_ranked() -> None:
    layouts = parse_layouts(["tp,ep"], gpus=4)
    found = recommend(replace(QUESTION, gpus=4, layouts=layouts))
    assert {option.strategy for option in found.options} == {"tp4", "dp4+ep"}


def test_a_model_that_fits_nowhere_is_infeasible_with_the_number_that_fails() -> None:
    with pytest.raises(Infeasible, match="GiB"):
        recommend(replace(QUESTION, model=model("DeepSeek-V3")))


def test_the_switching_table_covers_every_load_once() -> None:
    loads = [1, 4, 16, 64, 256]
    rows = stretches_of(recommendations(QUESTION, loads, None, prompts_per_load=2))
    assert rows[0]["from_concurrency"] == 1
    assert rows[-1]["to_concurrency"] == 256
    strategies = [row["strategy"] for row in rows]
    assert all(a != b for a, b in pairwise(strategies))


def test_a_stretch_names_all_that_its_loads_rest_on(predictor: Predictor) -> None:
    (row,) = stretches_of(recommendations(QUESTION, (8, 16, 32), predictor, prompts_per_load=2))
    assert row["source"] == "measured,interpolated"


def test_a_measured_crossover_is_found_between_the_loads_that_show_it() -> None:
    rates = [("tp", 1, 2.0), ("ep", 1, 1.0), ("tp", 4, 8.0), ("ep", 4, 7.0), ("tp", 16, 9.0),
             ("ep", 16, 20.0)]  # fmt: skip
    fitted = fit(measured(*rates), objective="throughput")
    rows = stretches_of(recommendations(QUESTION, [1, 4, 16], fitted, prompts_per_load=2))
    assert [(row["strategy"], row["from_concurrency"]) for row in rows] == [("tp", 1), ("ep", 16)]
    assert all(row["clear"] for row in rows)


def test_a_stretch_with_a_tie_is_not_clear_however_likely_its_best_is() -> None:
    rates = [("tp", 8, 100.0), ("ep", 8, 200.0), ("tp", 32, 400.0), ("ep", 32, 800.0)]
    fitted = fit(measured(*rates), objective="throughput")
    asked = recommendations(QUESTION, [8, 32], fitted, prompts_per_load=2)
    assert [row["clear"] for row in stretches_of(asked)] == [True]
    load, found = asked[0]
    best, *others = found.options
    tied = replace(found, options=(replace(best, tied_with=(others[0].strategy,)), *others))
    assert [row["clear"] for row in stretches_of([(load, tied), asked[1]])] == [False]


@pytest.mark.slow
def test_measured_rows_outweigh_simulated_ones(cases: Cases) -> None:
    from analysis.predict.methods import weights

    real = measured(("tp", 8, 100.0), ("ep", 8, 200.0))
    assert weights(real).sum() == pytest.approx(20.0)
    assert weights(cases).sum() == pytest.approx(cases.count)
    assert np.isfinite(real.relative_residual).all()


def test_one_measured_model_says_nothing_about_another(predictor: Predictor) -> None:
    assert predictor.about.trust == 0.0
    found = recommend(replace(QUESTION, model=model("Qwen3-30B-A3B")), predictor)
    alone = recommend(replace(QUESTION, model=model("Qwen3-30B-A3B")))
    order = [option.strategy for option in found.options]
    assert order == [option.strategy for option in alone.options]
    assert any("0% of what it learned" in note for note in found.notes)


def test_goodput_is_not_guessed_by_a_model_that_knows_no_limits() -> None:
    with pytest.raises(BadValue, match="fitted to goodput"):
        recommend(replace(QUESTION, objective="goodput"))


def test_nothing_is_left_to_measure_where_there_is_nothing_to_decide() -> None:
    assert recommend(replace(QUESTION, layouts=parse_layouts(["tp"]))).next_runs == ()


def test_one_measured_run_is_not_certain_and_more_of_them_are_surer() -> None:
    demand = replace(DEMAND, max_concurrency=8)
    once = measured(("tp", 8, 100.0), ("ep", 8, 103.0))
    often = measured(*[("tp", 8, 100.0 * f) for f in (0.98, 1.0, 1.02)] * 4,
                     *[("ep", 8, 103.0 * f) for f in (0.98, 1.0, 1.02)] * 4)  # fmt: skip
    few, many = (
        recommend(replace(QUESTION, demand=demand, layouts=parse_layouts(["tp,ep"], gpus=2)),
                  fit(cases, objective="throughput")).options[0]
        for cases in (once, often)
    )  # fmt: skip
    assert few.strategy == many.strategy == "ep"
    assert 0.5 < few.probability < 0.95 < many.probability
    assert few.tied_with == ("tp",)
    assert many.tied_with == ()
    assert few.low is not None
    assert many.low is not None
    assert few.low < many.low < many.value


def test_what_was_not_learned_is_said_and_widens(predictor: Predictor) -> None:
    beyond = (
        replace(DEMAND, input_len=4000),
        replace(DEMAND, max_concurrency=500, num_prompts=1000),
    )
    near = recommend(replace(QUESTION, demand=replace(DEMAND, max_concurrency=9)), predictor)
    for demand, word in zip(beyond, ("prompt tokens", "requests in flight"), strict=True):
        found = recommend(replace(QUESTION, demand=demand), predictor)
        assert any(word in note and "wider" in note for note in found.notes)
        assert width(found, "tp2+ep") > width(near, "tp2+ep")
    other = recommend(replace(QUESTION, model=model("Qwen3-30B-A3B")), predictor)
    assert any("parameters, learned from" in note for note in other.notes)
    gpus = recommend(replace(QUESTION, gpu=gpu("B200")), predictor)
    assert any("B200 is no GPU" in note for note in gpus.notes)
    assert width(gpus, "tp2+ep") > width(near, "tp2+ep")


def width(found: Recommendation, strategy: str) -> float:
    option = next(each for each in found.options if each.strategy == strategy)
    assert option.low is not None
    assert option.high is not None
    return option.high / option.low


def test_the_analytic_model_is_less_sure_where_nothing_was_published() -> None:
    large = replace(QUESTION, model=model("gpt-oss-120b"), demand=Demand(1000, 1000, 64, 32))
    known, far = recommend(large), recommend(replace(large, gpu=gpu("B200")))
    assert width(far, "tp") > width(known, "tp")
    assert not any("B200" in note for note in known.notes)
    assert any("B200 was not compared" in note for note in far.notes)
    uncalibrated = recommend(replace(large, constants=calibration("roofline")))
    assert {option.low for option in uncalibrated.options} == {None}
    assert known.options[0].latency_bounds["low_mean_ttft_ms"] is not None


def test_whole_experts_and_stages_across_nodes_are_among_the_candidates() -> None:
    large = replace(QUESTION, model=model("DeepSeek-V3"), gpu=gpu("H200"), gpus=16)
    names = {option.strategy for option in recommend(large).options}
    assert {"tp16+ep", "dp16+ep", "pp2+tp8", "tp8+dp2+ep"} <= names
    assert "tp4+ep" in {option.strategy for option in recommend(replace(QUESTION, gpus=4)).options}
