"""Every rule of the verdict at its edge: one run just inside, one just outside.

The numbers are those of the tables in docs/reliability.md, put into rows and readings by hand.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.orchestrator.run.judged import (
    OUTPUT,
    codes,
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


def test_one_failure_in_a_thousand_is_allowed_and_one_in_999_is_not() -> None:
    assert codes([*good(999), failed(999)]) == []
    assert codes([*good(998), failed(998)]) == ["ERRORS"]


def test_every_request_is_there_once_or_the_run_is_incomplete() -> None:
    assert codes(good(8), prompts=8) == []
    assert codes(good(8), prompts=9) == ["INCOMPLETE"]
    assert codes(good(8), prompts=7) == ["INCOMPLETE"]
    assert codes([*good(7), row(0)], prompts=8) == ["INCOMPLETE"]


def test_one_completed_request_is_enough_for_tokens() -> None:
    assert codes([failed(0), failed(1), row(2)]) == ["ERRORS"]
    assert codes([failed(0), failed(1), failed(2)]) == ["ERRORS", "ZERO_TOKENS"]


@pytest.mark.parametrize("length", [OUTPUT - 1, OUTPUT + 1])
def test_one_token_more_or_less_in_one_answer_is_another_length(length: int) -> None:
    rows = [*good(7), row(7, output_tokens=length)]
    record, reasons = judge(rows)
    assert record.verdict_reasons == "LENGTH_MISMATCH"
    assert "1 of 8 answers do not have the 4 tokens" in reasons[0]


US = 1e-6
LATE = {
    "sent before it was due": ({"due_s": 3.0, "sent_s": 3.0 - 0.9 * US}, {"sent_s": 3 - 1.1 * US}),
    "answered before it was sent": ({"sent_s": 3.25 + 0.9 * US}, {"sent_s": 3.25 + 1.1 * US}),
    "done before its first token": ({"done_s": 3.25 - 0.9 * US}, {"done_s": 3.25 - 1.1 * US}),
}


@pytest.mark.parametrize("name", LATE)
def test_times_may_be_out_of_order_by_a_microsecond(name: str) -> None:
    inside, outside = LATE[name]
    rows = good(8)
    assert "CLOCK" not in codes([*rows[:3], row(3, **inside), *rows[4:]])
    assert "CLOCK" in codes([*rows[:3], row(3, **outside), *rows[4:]])


A_PREFIX = ("server_prefix_cache_queries", "server_prefix_cache_hits")
READINGS: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
    # 8 requests of 4 tokens each.
    ("FOREIGN_TRAFFIC", {"server_generation_tokens": 32.0}, {"server_generation_tokens": 33.0}),
    ("TOKEN_COUNT_MISMATCH", {"server_generation_tokens": 32.0},
     {"server_generation_tokens": 31.0}),
    ("FOREIGN_TRAFFIC", {"server_requests": 8.0}, {"server_requests": 9.0}),
    ("CACHE_WARM", dict(zip(A_PREFIX, (1000, 10), strict=True)),
     dict(zip(A_PREFIX, (1000, 11), strict=True))),
    # One in flight to the client: 10 % of it and one more.
    ("LITTLE", {"server_in_flight": 2.099}, {"server_in_flight": 2.101}),
    # 5 % of the server's mean and 1 ms: 951.4 is 48.6 below 1000, of which it allows 48.57.
    ("SERVER_DISAGREES", {"server_mean_e2el_ms": 951.5}, {"server_mean_e2el_ms": 951.4}),
    ("SERVER_DISAGREES", {"server_mean_e2el_ms": 1053.6}, {"server_mean_e2el_ms": 1053.7}),
    # 250 ms to the client: 237.2 allows 12.86 and is 12.8 below; 237.1 allows 12.855 of 12.9.
    ("SERVER_DISAGREES", {"server_mean_itl_ms": 237.2}, {"server_mean_itl_ms": 237.1}),
    ("SERVER_DISAGREES", {"server_mean_ttft_ms": 264.2}, {"server_mean_ttft_ms": 264.3}),
    ("PREEMPTED", {"server_preemptions": 0.0}, {"server_preemptions": 1.0}),
    ("PREEMPTED", {"preemptions": 0}, {"preemptions": 1}),
    ("CO_TENANT", {"gpu_foreign_processes": 0.0}, {"gpu_foreign_processes": 1.0}),
    # XID 0 is a number that the driver gave; none is None.
    ("GPU_FAULT", {"gpu_xid": None}, {"gpu_xid": 0}),
    ("GPU_FAULT", {"gpu_ecc_errors": 0.0}, {"gpu_ecc_errors": 1.0}),
    ("THROTTLED", {"gpu_samples": 9, "gpu_throttled_samples": 0},
     {"gpu_samples": 9, "gpu_throttled_samples": 1}),
    ("POWER_CAPPED", {"gpu_samples": 9, "gpu_power_capped_samples": 0},
     {"gpu_samples": 9, "gpu_power_capped_samples": 1}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("code", "inside", "outside"), READINGS)
def test_a_reading_of_server_or_gpus_counts_from_its_limit_on(
    code: str, inside: Mapping[str, Any], outside: Mapping[str, Any]
) -> None:
    assert codes(good(8), inside) == []
    assert codes(good(8), outside) == [code]


@pytest.mark.parametrize(("together", "found"), [
    (16, []), (17, ["SOME_CLUMPED"]), (40, ["SOME_CLUMPED"]), (41, ["CLUMPED"]),
])  # fmt: skip
def test_a_fifth_of_the_events_may_come_together_and_half_of_them_with_a_note(
    together: int, found: list[str]
) -> None:
    rows = [row(n, token_events=10, token_reads=2) for n in range(7)]
    rows.append(row(7, token_events=10, token_reads=2, clumped_events=together))
    assert codes(rows) == found


@pytest.mark.parametrize(("more", "found"), [
    (0, []), (1, ["PROMPT_LONGER"]), (8, ["PROMPT_LONGER"]), (9, ["INPUT_MISMATCH"]),
    (-1, ["INPUT_MISMATCH"]),
])  # fmt: skip
def test_a_server_may_begin_each_prompt_with_eight_tokens_of_its_own(
    more: int, found: list[str]
) -> None:
    assert codes([row(n, server_input_tokens=16 + more) for n in range(8)]) == found


def test_a_server_that_answered_fewer_requests_than_ours_had_them_cut_off_not_foreign() -> None:
    assert codes(good(8), {"server_requests": 7.0}) == []


def test_counts_of_a_run_with_failures_are_not_held_against_it_twice() -> None:
    rows = [*good(7), failed(7)]
    told = {"server_generation_tokens": 99.0, "server_requests": 99.0}
    assert codes(rows, told) == ["ERRORS"]


@pytest.mark.parametrize(("in_server", "said"), [
    (7.99, True), (8.01, False), (11.99, False), (12.01, True),
])  # fmt: skip
def test_ten_in_flight_are_ten_in_the_server_to_two(in_server: float, said: bool) -> None:
    rows = [row(n, due_s=n // 10) for n in range(40)]
    rows = [timed(each, float(each.due_s), 0.25, 0.25) for each in rows]
    found = codes(rows, {"server_in_flight": in_server}, concurrency="10")
    assert found == (["LITTLE"] if said else [])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_latency_may_drift_by_ten_percent_either_way(sign: int) -> None:
    assert codes(drifting(sign * 0.099)) == []
    assert codes(drifting(sign * 0.101)) == ["NOT_STEADY"]


def test_fewer_than_thirty_requests_are_neither_accused_of_a_drift_nor_acquitted() -> None:
    assert codes(drifting(0.5, count=29)) == []
    assert codes(drifting(0.5, count=30)) == ["NOT_STEADY"]


@pytest.mark.parametrize(("at_first", "ttft", "found"), [
    # Steps of one each ten seconds make 9.9 in 99 s: 40.4 % of 20 + 4.5, 38.8 % of 21 + 4.5.
    (20, 1.0, ["SATURATED"]), (21, 1.0, []),
    (5, 0.41, ["SATURATED"]), (5, 0.39, []), (5, 0.0, []), (5, -0.5, []),
])  # fmt: skip
def test_queue_and_ttft_must_both_grow_by_forty_percent(
    at_first: int, ttft: float, found: list[str]
) -> None:
    rows = queueing(at_first, ttft)
    assert codes(rows, request_rates=(1.0,)) == found
    assert codes(rows, request_rates=(1.0,), find_max=True, goodput={"ttft": 1e6}) == []


def test_a_first_token_that_comes_later_and_later_without_a_queue_is_not_saturation() -> None:
    rows = queueing(20, 1.5, step=1000)
    assert codes(rows, request_rates=(1.0,)) == []


@pytest.mark.parametrize(("slower", "found"), [(1.049, []), (1.051, ["RATE_NOT_REACHED"])])
def test_sends_may_take_five_percent_longer_than_they_are_due_in(
    slower: float, found: list[str]
) -> None:
    asked = {"request_rates": (1.0,), "concurrency": "1"}
    assert codes(held_back(slower), **asked) == found
    assert codes(held_back(slower), concurrency="1") == [], "a closed loop has no rate to reach"


def test_requests_that_were_all_due_at_once_had_no_rate_to_miss() -> None:
    rows = [timed(row(n, due_s=0.0), float(n), 0.25, 0.125) for n in range(8)]
    assert codes(rows, request_rates=(1.0,)) == []


def test_a_rate_needs_two_sends() -> None:
    late: list[RequestRow] = [failed(0), timed(row(1), 9.0, 0.25, 0.125)]
    assert codes(late, request_rates=(1.0,)) == ["ERRORS"]


def test_as_many_prompts_as_the_concurrency_reach_it() -> None:
    assert codes(good(8), concurrency="8") == []
    assert codes(good(8), concurrency="9") == ["CONCURRENCY_NOT_REACHED"]
