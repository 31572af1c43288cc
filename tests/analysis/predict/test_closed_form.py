"""The closed form of a wave of requests, and a predictor's own arithmetic, by hand."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from analysis.predict import predictor
from analysis.predict.cases import Cases
from analysis.predict.predictor import (
    ANALYTIC_UNCERTAINTY,
    MeasuredOption,
    Predictor,
    PredictorMetadata,
    Uncertainty,
)
from analysis.predict.steady_state import Demand, SteadyStateEstimate, serving, steady_state
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.breakdown import step_cost
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import VLLM_2026
from perfmodel.load import decode_load, prefill_load
from perfmodel.serving import ServerModel
from perfmodel.simulate import simulate
from strategies.parse import parse_layout
from tests.analysis.predict.test_scores import cases

H100 = gpu("H100")


def server(layout: str, name: str = "OLMoE-1B-7B", **limits: int) -> ServerModel:
    on = serving(model(name), parse_layout(layout), H100, longest=1100, constants=None)
    return replace(on, limits=msgspec.structs.replace(on.limits, **limits))


def found(on: ServerModel, *demand: int) -> SteadyStateEstimate:
    return steady_state(on, Demand(*demand))


def seconds(on: ServerModel, batch: int, context: int, together: int, prompt: int) -> Any:
    """Of a decode step and of a prompts' step, for all replicas that share experts."""
    window, ranks = on.step_model.model.reach, on.step_model.layout.dp
    decode = step_cost(on.step_model, [decode_load(batch, context, window=window)] * ranks)
    prompts = prefill_load(together, prompt, window=window)
    return decode.seconds, step_cost(on.step_model, [prompts] * ranks).seconds


@pytest.mark.parametrize("name", ["OLMoE-1B-7B", "gpt-oss-20b"])
def test_a_wave_is_its_prompts_steps_and_its_decode_steps(name: str) -> None:
    """64 requests, 16 at once: four waves. Prompts of 1000 tokens go eight to a step of 8192."""
    on = server("single", name, max_num_batched_tokens=8192)
    decode_s, prefill_s = seconds(on, 16, 1000 + 50, 8, 1000)
    wave = found(on, 1000, 100, 64, 16)
    assert wave.batch == 16
    # A wave's requests are sent together, and share the front end.
    wave_s = 16 * VLLM_2026.intake_s + 2 * prefill_s + 99 * decode_s
    assert wave.output_throughput == pytest.approx(64 * 100 / (4 * wave_s))
    # The first prompts wait for one step, the last for both; then a stream begins.
    start_s = VLLM_2026.first_token_s
    assert wave.ttft_s == pytest.approx(16 * VLLM_2026.intake_s + 1.5 * prefill_s + start_s)
    assert wave.tpot_s is not None
    assert wave.ttft_s + 99 * wave.tpot_s == pytest.approx(wave_s)


@pytest.mark.parametrize(
    ("strategy", "demand"),
    [
        ("single", (128, 1, 64, 64)), ("single", (512, 16, 128, 64)), ("tp4", (1, 2, 16, 4)),
        ("tp4+ep", (2000, 128, 64, 16)), ("dp2+ep", (128, 300, 64, 16)), ("tp8", (4096, 64, 8, 4)),
    ],
)  # fmt: skip
def test_each_figure_of_the_closed_form_is_near_the_simulation_s(
    strategy: str, demand: tuple[int, int, int, int]
) -> None:
    on = serving(model("Qwen3-30B-A3B"), parse_layout(strategy), H100, longest=4200, constants=None)
    prompt, answer, count, at_once = demand
    wave = found(on, *demand)
    lengths = [(prompt, answer)] * count
    run = simulate(ClosedLoop(count, at_once), lengths, on.step_model, limits=on.limits)
    first_s = np.mean([times[0] for times in run.token_times_s] - run.sent_s)
    assert wave.output_throughput * run.done_s.max() == pytest.approx(count * answer, rel=0.15)
    assert wave.ttft_s == pytest.approx(first_s, rel=0.4)
    if answer == 1:
        assert wave.tpot_s is None
    else:
        tpot_s = np.mean([times[-1] - times[0] for times in run.token_times_s]) / (answer - 1)
        assert wave.tpot_s == pytest.approx(tpot_s, rel=0.3, abs=1e-9)


def test_replicas_share_a_wave_and_their_experts() -> None:
    on = server("dp4+ep", max_num_batched_tokens=8192)
    decode_s, prefill_s = seconds(on, 5, 1050, 5, 1000)
    wave = found(on, 1000, 100, 64, 17)
    assert wave.batch == 5, "seventeen over four, rounded up"
    wave_s = 5 * VLLM_2026.intake_s + prefill_s + 99 * decode_s
    assert wave.output_throughput == pytest.approx(6400 / (64 / 17 * wave_s))
    # Twenty tokens of eight in 64 experts leave each out with (7/8)^20.
    assert wave.experts_touched == pytest.approx(1 - (7 / 8) ** 20)


def test_a_wave_is_no_larger_than_the_prompts_the_cache_and_the_slots_allow() -> None:
    assert found(server("single"), 1000, 100, 3, 16).batch == 3
    assert found(server("single", max_num_seqs=4), 1000, 100, 64, 16).batch == 4
    # 550 blocks of 16 tokens hold eight sequences of 1100.
    small = server("single", kv_blocks=550)
    wave = found(small, 1000, 100, 64, 16)
    assert (wave.batch, wave.kv_fill) == (8, 2.0)
    alone = found(server("single", kv_blocks=10), 1000, 100, 64, 16)
    assert (alone.batch, alone.kv_fill) == (1, 16.0)
    decode_s, prefill_s = seconds(
        small, 8, 1050, min(8, small.limits.max_num_batched_tokens // 1000), 1000
    )
    steps = -(-8 // min(8, small.limits.max_num_batched_tokens // 1000))
    assert wave.output_throughput == pytest.approx(
        6400 / (64 / 8 * (steps * prefill_s + 99 * decode_s))
    )


def test_one_request_more_than_there_are_slots_hides_no_front_end() -> None:
    on = server("single", max_num_seqs=64)
    rates = [found(on, 128, 1, 256, at_once).output_throughput for at_once in (64, 65, 128)]
    assert rates[0] <= rates[1] < 1.1 * rates[0] < rates[2]
    assert rates[2] <= 1 / VLLM_2026.intake_s * (1 + 1e-9), "the front end's own rate"


def test_two_options_differ_by_a_logistic_of_the_temperature() -> None:
    """Its standard deviation is 1.7 times the scale; of each of two, that over √2."""
    doubt = Uncertainty(temperature=0.1, absolute_sd=0.3, basis="x")
    assert doubt.option_sd == pytest.approx(0.17 / np.sqrt(2))
    assert ANALYTIC_UNCERTAINTY.temperature == pytest.approx(0.16 / 1.7)
    assert ANALYTIC_UNCERTAINTY.option_sd == pytest.approx(0.16 / np.sqrt(2))


class Fixed:
    """A forest that always says the same."""

    def __init__(self, *values: float) -> None:
        self.values = np.array(values)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        assert len(matrix) == len(self.values)
        return self.values[:, None]


def test_a_correction_counts_whole_for_a_measured_model_and_in_part_for_another() -> None:
    option = MeasuredOption(
        model="known", gpu_type="H100", strategy="tp", input_len=1, output_len=1, num_prompts=1,
        max_concurrency=1, value=1.0, runs=1,
    )  # fmt: skip
    about = type("About", (), {"measured": (option,), "trust": 0.25, "level_trust": 0.5})
    fixed = Predictor(about=about, relative=Fixed(1.0, -1.0), absolute=Fixed(0.5, 0.7))  # type: ignore[arg-type]
    matrix, analytic = np.zeros((2, 1)), np.array([3.0, 4.0])
    # What is off for all options together is their mean, 0.6: whole, or as far as it carries over.
    assert fixed.log_values(matrix, analytic, model="known").tolist() == pytest.approx(
        [3 + 1 + 0.6, 4 - 1 + 0.6]
    )
    assert fixed.log_values(matrix, analytic, model="new").tolist() == pytest.approx(
        [3 + 0.25 + 0.3, 4 - 0.25 + 0.3]
    )


def test_a_stored_predictor_s_description_keeps_the_names_of_earlier_versions() -> None:
    doubt = Uncertainty(temperature=0.1, absolute_sd=0.3, basis="x")
    assert msgspec.to_builtins(doubt) == {"temperature": 0.1, "level_sd": 0.3, "basis": "x"}
    fields = msgspec.structs.fields(PredictorMetadata)
    assert {each.name: each.encode_name for each in fields if each.name != each.encode_name} == {
        "uncertainty": "doubt"
    }


def test_the_error_of_held_out_models_is_the_root_mean_square_of_both_corrections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores 0.3 too low, and half of a correction by 0.4 of all options together: 0.1 is left."""
    made = replace(
        cases([[100.0, 50.0], [80.0, 90.0], [70.0, 60.0]]),
        provenance=np.array(["measured"] * 4 + ["simulated"] * 2),
    )

    def scores(of: Cases, *_: Any, **__: Any) -> tuple[np.ndarray, bool]:
        low = np.log(of.value) - 0.3
        low[4:] -= 9.0  # simulated options say nothing of real servers
        return low, True

    monkeypatch.setattr(predictor, "held_out_scores", scores)
    monkeypatch.setattr(predictor, "fit_temperature", lambda of, _: float(of.count))
    levels = predictor.HeldOutLevels([], np.full(6, 0.4), 0.5)
    doubt = predictor.uncertainty_of(made, levels, seed=0)
    assert doubt.absolute_sd == pytest.approx(0.1)
    # Two measured cases of temperature 2.0 beside ten of the analytic model's.
    blended = ((10 * predictor.ANALYTIC_TEMPERATURE**2 + 2 * 2.0**2) / 12) ** 0.5
    assert doubt.temperature == pytest.approx(blended)
    assert doubt.basis == "errors on 4 measured options of models held out in turn"
    assert predictor.uncertainty_of(made, None, seed=0) == ANALYTIC_UNCERTAINTY


def test_a_level_is_learned_from_two_measured_models_or_none() -> None:
    made = cases([[100.0, 50.0], [80.0, 90.0]])
    one = replace(made, provenance=np.array(["measured"] * 2 + ["simulated"] * 2))
    assert predictor.held_out_levels(one, seed=0) is None


def test_a_dozen_foreseen_cases_leave_most_of_the_doubt_and_hundreds_hardly_any() -> None:
    prior = predictor.ANALYTIC_TEMPERATURE
    assert predictor.blended_temperature(0.01, 0) == pytest.approx(prior)
    assert 0.6 * prior < predictor.blended_temperature(0.01, 12) < prior
    assert predictor.blended_temperature(0.01, 1000) < 0.2 * prior
