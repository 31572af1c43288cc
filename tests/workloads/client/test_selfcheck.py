import msgspec
import pytest

from workloads.client.runstats import RunStats, merged
from workloads.client.selfcheck import client_limited

GOOD = RunStats(
    duration_s=10.0,
    requests=100,
    sent=100,
    reads=1_000,
    bytes=10_000,
    events=1_000,
    coalesced_reads=0,
    connects=8,
    reconnects=0,
    peak_in_flight=8,
    cpu_s=1.0,
    cpu_share=0.1,
    busy_share=0.1,
    decode_s=0.1,
    longest_turn_s=0.002,
    mean_loop_lag_s=0.0005,
    p99_loop_lag_s=0.002,
    max_loop_lag_s=0.003,
    mean_dispatch_lag_s=0.0001,
    p99_dispatch_lag_s=0.001,
    max_dispatch_lag_s=0.002,
    unsent=100,
)


def changed(**fields: float) -> RunStats:
    return msgspec.structs.replace(GOOD, **fields)


def test_a_client_with_time_to_spare_is_not_the_limit() -> None:
    assert client_limited(GOOD) is None


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"busy_share": 0.9}, "90%"),
        ({"p99_dispatch_lag_s": 0.030}, "30.0 ms after they were due"),
        ({"p99_loop_lag_s": 0.050}, "late by 50.0 ms"),
    ],
)
def test_a_client_at_its_limit_says_so_with_the_number_and_advice(
    fields: dict[str, float], number: str
) -> None:
    reason = client_limited(changed(**fields))
    assert reason is not None
    assert reason.startswith("CLIENT_LIMITED: ")
    assert number in reason
    assert "--client-workers" in reason


def test_a_client_that_was_suspended_says_for_how_long() -> None:
    """Slurm stops a job's processes for another's sake: a hundredth of the timers see nothing."""
    reason = client_limited(changed(max_loop_lag_s=6.0))
    assert reason is not None
    assert reason.startswith("CLIENT_LIMITED: the client did not run for 6.0 s at once")
    assert client_limited(changed(max_loop_lag_s=0.9)) is None


def test_a_burst_of_many_requests_is_allowed_the_time_its_sends_take() -> None:
    late = {"p99_dispatch_lag_s": 0.012}
    assert client_limited(changed(**late)) is not None
    assert client_limited(changed(**late, peak_in_flight=512)) is None


def test_processes_add_up_and_the_worst_of_them_is_the_lag() -> None:
    other = changed(sent=50, requests=50, unsent=150, p99_dispatch_lag_s=0.02, busy_share=0.7)
    both = merged([GOOD, other])
    assert (both.workers, both.requests, both.sent, both.reads) == (2, 150, 150, 2_000)
    assert both.unsent == 50
    assert both.cpu_share == pytest.approx(0.2)
    assert (both.p99_dispatch_lag_s, both.busy_share) == (0.02, 0.7)
    assert merged([GOOD]) is GOOD
