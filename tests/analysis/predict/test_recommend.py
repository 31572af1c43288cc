"""A recommendation says how it was derived, how sure it is, and what to measure next."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from analysis.predict.cases import Cases
from analysis.predict.outlook import Demand, outlook, serving
from analysis.predict.predictor import Predictor, fit
from analysis.predict.read import read_cases
from analysis.predict.recommend import Question, recommend
from analysis.predict.switching import switching_table
from catalog.errors import BadValue, Infeasible
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.closed_loop import ClosedLoop
from perfmodel.simulate import simulate
from strategies.parse import parse_layout, parse_layouts

DEMAND = Demand(input_len=128, output_len=64, num_prompts=64, max_concurrency=16)
QUESTION = Question(model("OLMoE-1B-7B"), gpu("H100"), 2, DEMAND)


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
    assert outlook(on, DEMAND).output_throughput == pytest.approx(simulated, rel=0.1)


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


def test_what_was_measured_is_returned_as_measured(predictor: Predictor) -> None:
    demand = replace(DEMAND, max_concurrency=8)
    found = recommend(replace(QUESTION, demand=demand), predictor)
    best = found.options[0]
    assert (best.strategy, best.source) == ("ep", "measured")
    assert best.value == pytest.approx(200.0)
    assert best.low == best.high == best.value
    assert best.probability == 1.0


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
    rows = switching_table(QUESTION, loads, None, prompts_per_load=2)
    assert rows[0]["from_concurrency"] == 1
    assert rows[-1]["to_concurrency"] == 256
    strategies = [row["strategy"] for row in rows]
    assert all(a != b for a, b in pairwise(strategies))


def test_a_measured_crossover_is_found_between_the_loads_that_show_it() -> None:
    rates = [("tp", 1, 2.0), ("ep", 1, 1.0), ("tp", 4, 8.0), ("ep", 4, 7.0), ("tp", 16, 9.0),
             ("ep", 16, 20.0)]  # fmt: skip
    rows = switching_table(
        QUESTION, [1, 4, 16], fit(measured(*rates), objective="throughput"), prompts_per_load=2
    )
    assert [(row["strategy"], row["from_concurrency"]) for row in rows] == [("tp", 1), ("ep", 16)]
    assert all(row["clear"] for row in rows)


def test_measured_rows_outweigh_simulated_ones(cases: Cases) -> None:
    from analysis.predict.methods import weights

    real = measured(("tp", 8, 100.0), ("ep", 8, 200.0))
    assert weights(real).sum() == pytest.approx(20.0)
    assert weights(cases).sum() == pytest.approx(cases.count)
    assert np.isfinite(real.lean).all()


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
