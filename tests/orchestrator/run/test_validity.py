"""Verdicts: each code appears for its cause, with its numbers, and for no other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from catalog.model_table import model
from catalog.reader.notes import stand_in
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import make_plan
from orchestrator.run.outcome import code_of
from orchestrator.run.validity import NOTES, Evidence, reasons_against
from strategies.technique import parse_technique
from workloads.figures.summary import figures_of
from workloads.transcript import RequestRow

INPUT, OUTPUT, COUNT = 16, 4, 8


def row(number: int, **changes: Any) -> RequestRow:
    times = 1.0 + number + 0.25 * np.arange(OUTPUT)
    base = RequestRow(
        request=number,
        due_s=float(number),
        sent_s=number + 0.001,
        first_token_s=float(times[0]),
        done_s=float(times[-1]),
        input_tokens=INPUT,
        output_tokens=OUTPUT,
        token_times_s=times,
    )
    return replace(base, **changes)


def evidence(
    rows: list[RequestRow] | None = None,
    *,
    told: Mapping[str, Any] | None = None,
    measured: bool = True,
    **experiment: Any,
) -> Evidence:
    """Judge eight good requests, but for what a test changes."""
    asked = Experiment(
        models=("mixtral",),
        strategies=("tp",),
        workloads=(f"{INPUT}:{OUTPUT}:{COUNT}",),
        concurrency=experiment.pop("concurrency", "1"),
    )
    (run,) = make_plan(asked, "simulated").runs
    rows = [row(number) for number in range(COUNT)] if rows is None else rows
    figures: dict[str, Any] = figures_of(rows, goodput={}, max_concurrency=1)
    figures.update(told or {})
    return Evidence(run.cell, model("mixtral"), rows, figures, measured=measured)


def codes(seen: Evidence) -> list[str]:
    return [code_of(reason) for reason in reasons_against(seen)]


def test_a_good_run_has_nothing_against_it() -> None:
    assert codes(evidence()) == []


def test_a_lost_or_doubled_request_is_never_overlooked() -> None:
    assert codes(evidence([row(n) for n in range(COUNT - 1)])) == ["INCOMPLETE"]
    twice = [row(n) for n in range(COUNT - 1)] + [row(0)]
    assert codes(evidence(twice)) == ["INCOMPLETE"]


def test_failed_requests_are_counted_with_their_classes() -> None:
    failed = [row(n) for n in range(COUNT - 1)]
    failed.append(RequestRow(request=7, due_s=7.0, status="failed", error_class="TIMEOUT"))
    (reason,) = reasons_against(evidence(failed))
    assert reason == "ERRORS: 1 of 8 requests failed (TIMEOUT)"


def test_success_without_tokens_is_no_success() -> None:
    failed = [
        RequestRow(request=n, due_s=0.0, status="failed", error_class="ZERO_TOKENS")
        for n in range(COUNT)
    ]
    assert codes(evidence(failed)) == ["ERRORS", "ZERO_TOKENS"]


def test_answers_of_another_length_are_another_workload() -> None:
    short = [row(n, output_tokens=3 if n == 2 else OUTPUT) for n in range(COUNT)]
    (reason,) = reasons_against(evidence(short))
    assert reason.startswith("LENGTH_MISMATCH: 1 of 8 answers do not have the 4 tokens")


def test_prompts_that_the_server_counts_otherwise_are_another_workload() -> None:
    assert codes(evidence([row(n, server_input_tokens=INPUT) for n in range(COUNT)])) == []
    for read in (INPUT - 1, INPUT + 1, 2_000_000_000):
        one = [row(n, server_input_tokens=read if n == 2 else INPUT) for n in range(COUNT)]
        (reason,) = reasons_against(evidence(one))
        assert reason.startswith("INPUT_MISMATCH: of 8 prompts the server counts 1 otherwise")
        assert f"({read} tokens where 16 were sent)" in reason


def test_times_out_of_order_are_a_clock_gone_wrong() -> None:
    assert codes(evidence([row(n, sent_s=n + 5.0) for n in range(COUNT)])) == ["CLOCK"]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"server_generation_tokens": 40.0}, "FOREIGN_TRAFFIC"),
        ({"server_generation_tokens": 30.0}, "TOKEN_COUNT_MISMATCH"),
        (
            {"server_prefix_cache_queries": 100.0, "server_prefix_cache_hits": 30.0},
            "CACHE_WARM",
        ),
        ({"server_requests": 9.0}, "FOREIGN_TRAFFIC"),
        ({"server_in_flight": 5.0}, "LITTLE"),
        ({"server_mean_ttft_ms": 500.0}, "SERVER_DISAGREES"),
        ({"server_preemptions": 3.0}, "PREEMPTED"),
        ({"gpu_foreign_processes": 1.0}, "CO_TENANT"),
        ({"gpu_samples": 10, "gpu_throttled_samples": 2}, "THROTTLED"),
        ({"gpu_samples": 10, "gpu_power_capped_samples": 2}, "POWER_CAPPED"),
    ],
)
def test_what_server_and_gpus_tell_is_held_against_the_run(
    told: dict[str, float], code: str
) -> None:
    assert codes(evidence(told=told)) == [code]


def test_a_server_that_agrees_on_tokens_and_latencies_adds_nothing() -> None:
    told = {
        "server_generation_tokens": float(OUTPUT * COUNT),
        "server_prefix_cache_queries": 1000.0,
        "server_prefix_cache_hits": 5.0,
        "server_mean_itl_ms": 250.5,
        "server_requests": float(COUNT),
        "server_in_flight": 0.9,
        "gpu_samples": 10,
        "gpu_throttled_samples": 0,
        "gpu_foreign_processes": 0.0,
    }
    assert codes(evidence(told=told)) == []


def test_too_few_prompts_for_the_concurrency_are_a_note() -> None:
    assert codes(evidence(concurrency="64")) == ["CONCURRENCY_NOT_REACHED"]
    assert "CONCURRENCY_NOT_REACHED" in NOTES


def test_a_first_token_faster_than_the_hardware_is_impossible_only_where_it_was_measured() -> None:
    quick = [
        row(n, first_token_s=n + 0.0011, token_times_s=n + 0.0011 + 1e-6 * np.arange(OUTPUT))
        for n in range(COUNT)
    ]
    assert "IMPOSSIBLE" in codes(evidence(quick))
    assert "IMPOSSIBLE" not in codes(evidence(quick, measured=False))
    judged = evidence(quick)
    setup = msgspec.structs.replace(judged.cell.setup, hardware="NVIDIA T1000")
    cell = msgspec.structs.replace(judged.cell, setup=setup)
    assert "IMPOSSIBLE" not in codes(replace(judged, cell=cell)), "nobody told what it can do"
    setup = msgspec.structs.replace(judged.cell.setup, technique=parse_technique("label:awq"))
    cell = msgspec.structs.replace(judged.cell, setup=setup)
    assert "IMPOSSIBLE" not in codes(replace(judged, cell=cell)), "nobody told its weights' size"
    unsized = replace(judged, model=stand_in("x", "its layers are not told", source="x"))
    assert "IMPOSSIBLE" not in codes(unsized)


@pytest.mark.parametrize(
    ("count", "known"),
    [(63, set()), (64, {"p90"}), (130, {"p90", "p95"}), (662, {"p90", "p95", "p99"})],
)
def test_percentiles_below_their_sample_floor_are_empty_not_guessed(
    count: int, known: set[str]
) -> None:
    figures = figures_of([row(n) for n in range(count)], goodput={}, max_concurrency=1)
    for metric in ("ttft", "tpot", "e2el"):
        found = {p for p in ("p90", "p95", "p99") if figures[f"{p}_{metric}_ms"] is not None}
        assert found == known
        assert figures[f"median_{metric}_ms"] is not None
    gaps = count * (OUTPUT - 1)
    assert (figures["p99_itl_ms"] is not None) == (gaps >= 662)


def open_loop(gap_s: float, *, wait_growth_s: float = 0.0, late_s: float = 0.0) -> list[RequestRow]:
    """Due each 0.1 s; answered ever later, or sent ever later, by so much a request."""
    rows = []
    for number in range(60):
        due = 0.1 * number
        sent = due + late_s * number
        first = sent + gap_s + wait_growth_s * number
        times = first + 0.01 * np.arange(OUTPUT)
        rows.append(
            row(number, due_s=due, sent_s=sent, first_token_s=first, done_s=float(times[-1]),
                token_times_s=times)
        )  # fmt: skip
    return rows


def of_open_loop(rows: list[RequestRow], *, probing: bool = False) -> list[str]:
    asked = Experiment(
        models=("mixtral",), strategies=("tp",), workloads=(f"{INPUT}:{OUTPUT}:60",),
        request_rates=(10.0,),
    )  # fmt: skip
    (run,) = make_plan(asked, "simulated").runs
    figures = figures_of(rows, goodput={}, max_concurrency=None)
    seen = Evidence(run.cell, model("mixtral"), rows, figures, measured=True, probing=probing)
    return codes(seen)


def test_an_open_loop_whose_queue_grows_is_saturated_unless_capacity_is_searched_for() -> None:
    assert of_open_loop(open_loop(0.1)) == []
    assert of_open_loop(open_loop(0.1, wait_growth_s=0.1)) == ["SATURATED"]
    assert of_open_loop(open_loop(0.1, wait_growth_s=0.1), probing=True) == []


def test_sends_that_a_cap_held_back_are_a_note() -> None:
    assert of_open_loop(open_loop(0.1, late_s=0.02)) == ["RATE_NOT_REACHED"]


def test_a_closed_loop_that_slows_down_is_not_steady() -> None:
    rows, clock = [], 0.0
    for number in range(40):
        times = clock + (0.1 + 0.01 * number) * (1 + np.arange(OUTPUT))
        rows.append(
            row(number, due_s=clock, sent_s=clock, first_token_s=float(times[0]),
                done_s=float(times[-1]), token_times_s=times)
        )  # fmt: skip
        clock = float(times[-1])
    asked = Experiment(
        models=("mixtral",), strategies=("tp",), workloads=(f"{INPUT}:{OUTPUT}:40",),
        concurrency="1",
    )  # fmt: skip
    (run,) = make_plan(asked, "simulated").runs
    figures = figures_of(rows, goodput={}, max_concurrency=1)
    assert codes(Evidence(run.cell, model("mixtral"), rows, figures, measured=False)) == [
        "NOT_STEADY"
    ]
