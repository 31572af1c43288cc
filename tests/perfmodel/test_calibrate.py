"""Fitting constants: known ones come back, unknown ones are called so."""

from dataclasses import replace
from itertools import product
from typing import Any

import msgspec
import numpy as np
import pytest

from catalog.errors import BadValue, InputError
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.a100_study import throughput
from perfmodel.calibrate import CalibrationFit, calibrate
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import ROOFLINE, VLLM_2026, Constants
from perfmodel.features import MeasuredRun, features
from perfmodel.fitted_error import Asked
from perfmodel.known_error import KNOWN_ERRORS, confidence
from perfmodel.serving import DEFAULT_SETTINGS, ServerSettings, server
from perfmodel.simulate import simulate
from strategies.parse import parse_layout

TRUE = msgspec.structs.replace(
    ROOFLINE, kernel_s=30e-6, sequence_s=60e-6, memory_efficiency=0.55, hop_s=9e-6
)
GRID = list(
    product(["OLMoE-1B-7B", "Mixtral-8x7B", "Qwen3-30B-A3B"], ["tp", "ep", "tp4"], [1, 8, 32, 128])
)


def observed(
    name: str,
    layout: str,
    concurrency: int,
    constants: Constants,
    lengths: tuple[int, int] = (128, 64),
) -> MeasuredRun:
    spec, parsed, h100 = model(name), parse_layout(layout), gpu("H100")
    setup, count = ServerSettings(constants=constants), max(64, concurrency)
    built = server(spec, parsed, h100, longest=sum(lengths), setup=setup)
    loop = ClosedLoop(count, concurrency)
    result = simulate(loop, [lengths] * count, built.step_model, limits=built.limits)
    first_s = np.array([times[0] for times in result.token_times_s]) - result.sent_s
    return MeasuredRun(
        model=spec,
        layout=parsed,
        gpu=h100,
        input_len=lengths[0],
        output_len=lengths[1],
        num_prompts=count,
        max_concurrency=concurrency,
        output_throughput=throughput(result),
        mean_ttft_ms=1e3 * float(first_s.mean()),
    )


@pytest.fixture(scope="module")
def runs() -> list[MeasuredRun]:
    return [observed(*cell, TRUE) for cell in GRID]


@pytest.mark.slow
def test_the_table_of_steps_gives_the_simulations_throughput(runs: list[MeasuredRun]) -> None:
    seconds = features(runs, DEFAULT_SETTINGS, TRUE).duration_s(TRUE, len(runs))
    tokens = np.array([run.num_prompts * run.output_len for run in runs])
    # A stretch is priced at its middle; the simulation prices each of its steps.
    assert tokens / seconds == pytest.approx([run.output_throughput for run in runs], rel=1e-3)


def test_the_table_of_steps_gives_the_simulations_time_to_first_token() -> None:
    run = observed("Mixtral-8x7B", "tp4+ep", 40, VLLM_2026)
    assert run.mean_ttft_ms is not None
    table = features([run], DEFAULT_SETTINGS, VLLM_2026)
    assert 1e3 * table.ttft_s(VLLM_2026, 1)[0] == pytest.approx(run.mean_ttft_ms, rel=1e-6)


@pytest.mark.slow
def test_what_many_exact_runs_show_comes_back(runs: list[MeasuredRun]) -> None:
    fit = calibrate(without_first_tokens(runs), start=ROOFLINE)
    found = {constant.name: constant for constant in fit.fitted}
    for name, near in (("kernel_s", 0.02), ("memory_efficiency", 0.02)):
        assert found[name].determined
        assert found[name].value == pytest.approx(getattr(TRUE, name), rel=near)
    for name in ("kernel_s", "sequence_s", "memory_efficiency"):
        low, high = found[name].low, found[name].high
        assert low is not None
        assert high is not None
        assert low <= getattr(TRUE, name) <= high
    assert not found["attention_efficiency"].determined
    assert fit.rms_log_error < 0.02
    assert set(fit.left_out) == {"OLMoE-1B-7B", "Mixtral-8x7B", "Qwen3-30B-A3B"}
    # Mixtral alone is bound by memory: the others do not show how fast that is.
    assert np.abs(fit.left_out["Qwen3-30B-A3B"]).max() < 0.1
    assert np.abs(fit.left_out["Mixtral-8x7B"]).max() > 0.2


OTHER = msgspec.structs.replace(
    VLLM_2026, kernel_s=6e-6, sequence_s=60e-6, expert_efficiency=0.18, first_token_s=0.04
)
TEN = list(product(["tp", "tp2+ep"], [1, 4, 16, 64, 128]))


@pytest.fixture(scope="module")
def ten() -> list[MeasuredRun]:
    return [observed("Qwen3-30B-A3B", *cell, OTHER, lengths=(1024, 128)) for cell in TEN]


@pytest.fixture(scope="module")
def fit_of_ten(ten: list[MeasuredRun]) -> CalibrationFit:
    return calibrate(ten)


@pytest.mark.slow
def test_ten_runs_move_each_constant_towards_the_truth(fit_of_ten: CalibrationFit) -> None:
    fit = fit_of_ten
    # A host that schedules ahead shows nothing of its own time.
    assert fit.constants.sequence_s == VLLM_2026.sequence_s
    for name in ("kernel_s", "expert_efficiency", "first_token_s"):
        truth, start = getattr(OTHER, name), getattr(VLLM_2026, name)
        moved = (getattr(fit.constants, name) - start) / (truth - start)
        assert 0.1 < moved < 1.5, name
    determined = {constant.name for constant in fit.fitted if constant.determined}
    assert determined >= {"kernel_s", "expert_efficiency", "first_token_s"}
    assert "attention_efficiency" not in determined
    assert fit.rms_log_error < 0.03


@pytest.mark.slow
def test_one_run_moves_little_and_leaves_what_it_does_not_show(ten: list[MeasuredRun]) -> None:
    for run in (ten[1], ten[3]):
        fit = calibrate([run])
        alone = calibrate([run, *ten])
        for name in ("sequence_s", "compute_efficiency", "attention_efficiency"):
            assert getattr(fit.constants, name) == pytest.approx(getattr(VLLM_2026, name), rel=0.2)
        # Between where it starts and what the run says: neither certain nor without effect.
        at_start = abs(float(np.log(features_error(run, VLLM_2026))))
        assert 0.25 * at_start < abs(float(np.log1p(fit.errors[0]))) < 0.9 * at_start
        assert alone.rms_log_error < 0.05
        assert fit.constants.hop_s is None


def features_error(run: MeasuredRun, constants: Constants) -> float:
    seconds = features([run], DEFAULT_SETTINGS, constants).duration_s(constants, 1)[0]
    return float(run.output_len * run.num_prompts / seconds / run.output_throughput)


def without_first_tokens(runs: list[MeasuredRun]) -> list[MeasuredRun]:
    return [replace(run, mean_ttft_ms=None) for run in runs]


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say(runs: list[MeasuredRun]) -> None:
    held = 0
    repeats = 10
    for seed in range(repeats):
        noise = np.random.default_rng(seed).normal(0, 0.03, len(runs))
        noisy = [
            replace(
                run,
                output_throughput=run.output_throughput * float(np.exp(error)),
                mean_ttft_ms=None,
            )
            for run, error in zip(runs, noise, strict=True)
        ]
        fit = calibrate(noisy, start=ROOFLINE)
        kernel = fit.fitted[0]
        assert kernel.low is not None
        assert kernel.high is not None
        held += kernel.low <= TRUE.kernel_s <= kernel.high
    assert held >= repeats - 3  # at 95 %, fewer than 7 of 10 has a chance under 0.1 %


@pytest.mark.slow
def test_what_the_runs_cannot_show_is_not_given_an_interval() -> None:
    slow = msgspec.structs.replace(TRUE, kernel_s=500e-6)
    launch_bound = [
        observed(name, "tp", concurrency, slow)
        for name, concurrency in product(["OLMoE-1B-7B", "Qwen3-30B-A3B"], [1, 4, 8, 16])
    ]
    fit = calibrate(launch_bound, start=msgspec.structs.replace(ROOFLINE, kernel_s=300e-6))
    by_name = {constant.name: constant for constant in fit.fitted}
    assert by_name["kernel_s"].value == pytest.approx(500e-6, rel=0.01)
    assert not by_name["memory_efficiency"].determined
    assert not by_name["hop_s"].determined


@pytest.mark.slow
def test_one_model_leaves_nothing_to_leave_out(runs: list[MeasuredRun]) -> None:
    assert calibrate(runs[:9]).left_out == {}


def test_no_runs_and_runs_without_throughput_are_refused(runs: list[MeasuredRun]) -> None:
    with pytest.raises(BadValue, match="at least one"):
        calibrate([])
    with pytest.raises(BadValue, match="over 0"):
        calibrate([*runs[:5], replace(runs[0], output_throughput=0.0)])


def test_bounds_of_a_fit_hold_runs_like_its_own_and_are_narrower(
    fit_of_ten: CalibrationFit,
) -> None:
    fit = fit_of_ten
    error = fit.constants.error
    assert error is not None
    further = [observed("Qwen3-30B-A3B", *cell, OTHER, lengths=(1024, 128))
               for cell in product(["tp", "tp2+ep"], [2, 8, 32, 100])]  # fmt: skip
    asked = [Asked(each.model.total_params, 1024, 128, each.max_concurrency) for each in further]
    table = features(further, DEFAULT_SETTINGS, fit.constants)
    said = [128 * each.num_prompts for each in further] / table.duration_s(fit.constants, 8)
    for each, estimate, question in zip(further, said, asked, strict=True):
        known = confidence("fitted", each.layout, each.gpu, question, fitted=error)
        assert known.outside == ()
        factor = known.factors["output_throughput"]
        assert factor < 1.2 < KNOWN_ERRORS[VLLM_2026.name].nine_of_ten["output_throughput"]
        assert 1 / factor <= estimate / each.output_throughput <= factor


@pytest.mark.parametrize(("layout", "name", "change", "why"), [
    ("dp2+ep", "H100", {}, "no run of dp"), ("tp", "B200", {}, "no run on B200"),
    ("tp", "H100", {"input_len": 9000}, "9000 prompt tokens, fitted from 1024 to 1024"),
    ("tp", "H100", {"total_params": 6.9e9}, "parameters"),
])  # fmt: skip
def test_away_from_its_runs_a_fit_is_as_far_off_as_what_it_began_with(
    fit_of_ten: CalibrationFit, layout: str, name: str, change: dict[str, Any], why: str
) -> None:
    error = fit_of_ten.constants.error
    asked = replace(Asked(model("Qwen3-30B-A3B").total_params, 1024, 128, 16), **change)
    asking = (parse_layout(layout), gpu(name), asked)
    known = confidence("fitted", *asking, fitted=error)
    assert len(known.outside) == 1
    assert why in known.outside[0]
    assert known.factors == confidence(VLLM_2026.name, *asking).factors


def test_a_fit_begun_with_what_was_compared_with_nothing_widens_its_own_bounds(
    ten: list[MeasuredRun],
) -> None:
    error = calibrate(ten[:2], start=ROOFLINE).constants.error
    near, far = (
        confidence("fitted", parse_layout("tp"), gpu(name), fitted=error).factors
        for name in ("H100", "L40S")
    )
    assert far["mean_tpot_ms"] == pytest.approx(near["mean_tpot_ms"] ** 1.5)


def test_one_run_makes_no_bound_wider(ten: list[MeasuredRun]) -> None:
    error = calibrate(ten[:1]).constants.error
    assert error is not None
    most = KNOWN_ERRORS[VLLM_2026.name].nine_of_ten
    assert all(1 < factor <= most[name] for name, factor in error.factors)


def test_runs_that_no_constants_give_widen_the_bounds(ten: list[MeasuredRun]) -> None:
    tenfold = [replace(run, output_throughput=run.output_throughput * (10 if at % 2 else 0.1))
               for at, run in enumerate(ten[:4])]  # fmt: skip
    error = calibrate(tenfold).constants.error
    assert error is not None
    assert dict(error.factors)["output_throughput"] > 10


@pytest.mark.parametrize(("change", "why"), [
    ({"factors": (("output_throughput", -1.0),)}, "a factor of 1 or more"),
    ({"reach": (("moons", 1.0, 2.0),)}, "moons"),
])  # fmt: skip
def test_an_error_that_is_none_is_refused(
    fit_of_ten: CalibrationFit, change: dict[str, Any], why: str
) -> None:
    error = fit_of_ten.constants.error
    assert error is not None
    with pytest.raises(InputError, match=why):
        msgspec.structs.replace(error, **change)
