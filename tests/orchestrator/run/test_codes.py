"""Each code of the verdict through the whole record of a run: against it, or a note beside it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import ServerDied, ServerStartFailed
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import make_plan
from orchestrator.results.record import MEASURED, SIMULATED
from orchestrator.run.bugs import Bug
from orchestrator.run.outcome import failed_record, identity_of
from tests.orchestrator.run.judged import (
    drifting,
    failed,
    good,
    held_back,
    judge,
    queueing,
    row,
    timed,
)
from workloads.transcript import RequestRow

PAGE = Path(__file__).parents[3] / "docs" / "reliability.md"


@dataclass(frozen=True)
class Case:
    """A run with one thing about it, and words with its numbers that a reader must find."""

    rows: Callable[[], list[RequestRow]] = good
    told: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""


def one_of(**changes: Any) -> Callable[[], list[RequestRow]]:
    return lambda: [*good(7), row(7, **changes)]


def paced(ttft_s: float, itl_s: float) -> Callable[[], list[RequestRow]]:
    return lambda: [timed(row(number), float(number), ttft_s, itl_s) for number in range(8)]


PREFIX = {"server_prefix_cache_queries": 200.0, "server_prefix_cache_hits": 30.0}
INVALID = {
    "INCOMPLETE": Case(asked={"prompts": 9}, words="8 of 9 requests"),
    "ERRORS": Case(lambda: [*good(6), failed(6, "TIMEOUT"), failed(7, "CONNECT")],
                   words="2 of 8 requests failed (CONNECT, TIMEOUT)"),
    "LENGTH_MISMATCH": Case(one_of(output_tokens=3), words="1 of 8 answers"),
    "INPUT_MISMATCH": Case(one_of(server_input_tokens=15), words="15 tokens where 16 were sent"),
    # Six of ten events of each answer came with others, three quarters of a second apart.
    "CLUMPED": Case(lambda: [row(n, token_events=10, token_reads=2, clumped_events=6)
                             for n in range(8)], words="60% of the events with tokens"),
    "SEVERAL_MODELS": Case(lambda: [row(n, answered_by="m" if n else "n", server_input_tokens=16)
                                    for n in range(8)],
                           {"served_model": "m"}, words="m 7 times, n 1 times"),
    "CLOCK": Case(one_of(due_s=7.125), words="request 7 are out of order: [7.125, 7.0, 7.25, 8.0]"),
    "TOKEN_COUNT_MISMATCH": Case(told={"server_generation_tokens": 30.0},
                                 words="32 tokens to the client, 30 to the server"),
    "FOREIGN_TRAFFIC": Case(told={"server_generation_tokens": 39.0},
                            words="made 39 tokens, 7 of them not for this run"),
    "NOT_STEADY": Case(lambda: drifting(0.2), words="changed by +20% over the run"),
    "SATURATED": Case(lambda: queueing(5, 2.0), asked={"request_rates": (1.0,)},
                      words="queue and TTFT grew by 104% and 200%"),
    "CACHE_WARM": Case(told=PREFIX, words="15% of the prompt tokens"),
    # 12.9 billion active parameters of 2 bytes from two times 2.04 TB/s: over 6 ms a token.
    "IMPOSSIBLE": Case(paced(0.25, 0.004), words="mean_itl_s = 0.004, limit 0.006"),
    "CO_TENANT": Case(told={"gpu_foreign_processes": 2.0}, words="2 processes of somebody else"),
    "GPU_FAULT": Case(told={"gpu_xid": 79}, words="XID 79"),
    "THROTTLED": Case(told={"gpu_samples": 8, "gpu_throttled_samples": 2}, words="25% of samples"),
}  # fmt: skip
NOTED = {
    "CONCURRENCY_NOT_REACHED": Case(asked={"concurrency": "12"}, words="8 prompts never are 12"),
    "RATE_NOT_REACHED": Case(lambda: held_back(1.5), asked={"request_rates": (1.0,)},
                             words="1.50 times as long"),
    "LITTLE": Case(told={"server_in_flight": 4.0}, words="and 4.0 in the server"),
    "SERVER_DISAGREES": Case(told={"server_mean_ttft_ms": 500.0},
                             words="mean TTFT is 250.00 ms to the client and 500.00 ms"),
    "PREEMPTED": Case(told={"server_preemptions": 3.0}, words="3 times"),
    "POWER_CAPPED": Case(told={"gpu_samples": 8, "gpu_power_capped_samples": 4}, words="50%"),
}  # fmt: skip
BESIDE = {"ZERO_TOKENS", "SERVER_RESTARTED", "CLIENT_LIMITED", "EXPERTS_UNKNOWN"}
"""What comes with another code, or from whoever measured: tested below."""


@pytest.mark.parametrize("code", INVALID)
def test_it_makes_the_run_invalid_and_says_so_with_its_numbers(code: str) -> None:
    case = INVALID[code]
    record, (reason,) = judge(case.rows(), case.told, **case.asked)
    assert (record.verdict, record.verdict_reasons, record.verdict_notes) == ("invalid", code, "")
    assert reason.startswith(f"{code}: ")
    assert case.words in reason


@pytest.mark.parametrize("code", NOTED)
def test_it_is_noted_with_its_numbers_and_leaves_the_run_valid(code: str) -> None:
    case = NOTED[code]
    record, (reason,) = judge(case.rows(), case.told, **case.asked)
    assert (record.verdict, record.verdict_reasons, record.verdict_notes) == ("valid", "", code)
    assert reason.startswith(f"{code}: ")
    assert case.words in reason


def test_the_page_lists_these_codes_and_no_others() -> None:
    text = PAGE.read_text()
    assert _codes_below(text, "the run is invalid because") == set(INVALID) | BESIDE - {
        "EXPERTS_UNKNOWN"
    }
    # Those of a server that already runs stand in endpoints.md, behind the first of them.
    by_session = {"EXPERTS_UNKNOWN", "CORES_TAKEN", "SERVER_UNSEEN"}
    assert _codes_below(text, "meaning") == {*NOTED} | by_session


def _codes_below(text: str, heading: str) -> set[str]:
    table = text.split(f"| {heading} |\n")[1].split("\n\n")[0]
    return set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))


def test_what_was_found_while_measuring_counts_as_well() -> None:
    told = ("SERVER_RESTARTED: a", "CORES_TAKEN: b", "CLIENT_LIMITED: c", "CLIENT_LIMITED: d")
    record, reasons = judge(good(), {"server_preemptions": 1.0}, reasons=told)
    assert record.verdict == "invalid"
    assert record.verdict_reasons == "SERVER_RESTARTED;CLIENT_LIMITED", "each code once"
    assert record.verdict_notes == "PREEMPTED;CORES_TAKEN"
    assert reasons == ("PREEMPTED: 1 times for lack of KV cache", *told)


def test_a_run_of_failures_alone_has_no_tokens() -> None:
    record, _ = judge([failed(n) for n in range(8)])
    assert record.verdict_reasons == "ERRORS;ZERO_TOKENS"
    assert record.output_throughput_per_gpu is None


@pytest.mark.parametrize(("ttft_s", "itl_s", "metrics"), [
    # 16 prompt tokens read the same weights once: 6 ms to the first token too.
    (0.25, 0.004, ["mean_itl_s"]), (0.25, 0.008, []), (0.004, 0.25, ["mean_ttft_s"]),
    (0.008, 0.25, []), (0.004, 0.004, ["mean_ttft_s", "mean_itl_s"]),
])  # fmt: skip
def test_each_latency_is_held_against_its_own_floor(
    ttft_s: float, itl_s: float, metrics: list[str]
) -> None:
    _, reasons = judge(paced(ttft_s, itl_s)())
    assert [reason.split()[1] for reason in reasons] == metrics


def at_once() -> list[RequestRow]:
    """All eight requests in flight together, done after 15 ms: 32 tokens in that time."""
    return [timed(row(n, due_s=0.0), 0.0, 0.006, 0.003) for n in range(8)]


def test_a_throughput_beyond_the_hardware_is_impossible_as_well() -> None:
    _, reasons = judge(at_once(), concurrency="8")
    assert "output_throughput" in [reason.split()[1] for reason in reasons]


@pytest.mark.parametrize("asked", [{"provenance": SIMULATED}, {"hardware": "CPU"}])
def test_no_floor_is_known_for_what_was_not_measured_on_a_known_gpu(asked: dict[str, Any]) -> None:
    quick = paced(0.0005, 0.0005)()
    assert judge(quick)[0].verdict_reasons == "IMPOSSIBLE"
    assert judge(quick, **asked)[0].verdict == "valid"


@pytest.mark.parametrize(
    ("error", "verdict", "code", "text"),
    [
        (ServerStartFailed("OOM_KV: no room"), "failed", "OOM_KV", "OOM_KV: no room"),
        (ServerDied("NODE_LOST: gone"), "failed", "NODE_LOST", "NODE_LOST: gone"),
        (Bug("BUG: ours"), "failed", "BUG", "BUG: ours"),
        (KeyError("x"), "failed", "FAILED", "KeyError: 'x'"),
        (KeyboardInterrupt(), "interrupted", "INTERRUPTED", "KeyboardInterrupt: "),
    ],
)
def test_a_run_without_a_result_has_its_class_and_its_words(
    error: BaseException, verdict: Any, code: str, text: str
) -> None:
    identity = judge(good())[0]
    names = ("run_id", "cell_id", "replicate", "attempt", "block", "started_at", "engine",
             "provenance", "model", "strategy", "tp", "dp", "pp", "ep", "num_gpus", "gpu_type",
             "technique", "workload", "input_len", "output_len", "num_prompts",
             "max_concurrency")  # fmt: skip
    record = failed_record(error, verdict, identity={n: getattr(identity, n) for n in names})
    assert (record.verdict, record.verdict_reasons, record.error) == (verdict, code, text)
    assert record.completed is None


@dataclass(frozen=True)
class Ready:
    """A session that says what it runs on."""

    provenance: str = MEASURED
    gpu_type: str = "NVIDIA L4"
    details: Mapping[str, Any] = field(default_factory=lambda: {"version": "0.32"})


def test_a_session_s_own_word_on_its_gpu_and_version_is_recorded() -> None:
    plan = make_plan(Experiment(models=("olmoe",), strategies=("tp",), seed=9), "simulated")
    group = plan.groups[0]
    given = {"attempt": 2, "started_at": "then", "server_group": "s"}
    told = identity_of(group.runs[0], group, Ready(), **given)  # type: ignore[arg-type]
    assert (told["gpu_type"], told["engine_version"]) == ("NVIDIA L4", "0.32")
    assert (told["provenance"], told["seed"], told["attempt"]) == (MEASURED, 9, 2)
    none = identity_of(group.runs[0], group, None, **given)  # type: ignore[arg-type]
    assert (none["gpu_type"], none["engine_version"]) == (group.setup.hardware, "")
    assert (none["provenance"], none["block"]) == (SIMULATED, 0)
    assert (none["started_at"], none["server_group"]) == ("then", "s")
