"""The trend of a run: seen when it is there, not seen in queues that only wander."""

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.figures.drift import FEWEST, latency_trend, queue_trends, trend
from workloads.transcript import RequestRow, Transcript

SLOTS = 16
MOST_GROWTH, MOST_DRIFT = 0.4, 0.1


def queue(load: float, count: int, seed: int) -> Transcript:
    return Transcript.of(queue_rows(load, count, seed))


def queue_rows(load: float, count: int, seed: int) -> list[RequestRow]:
    """Serve Poisson arrivals with sixteen slots of mean service 1 s: beyond load 1 it grows."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / (load * SLOTS), count))
    service = rng.gamma(20, 1 / 20, count)
    free, rows = [0.0] * SLOTS, list[RequestRow]()
    for number, (arrival, length) in enumerate(
        zip(arrivals.tolist(), service.tolist(), strict=True)
    ):
        begin = max(heapq.heappop(free), arrival)
        heapq.heappush(free, begin + length)
        rows.append(
            RequestRow(
                request=number,
                due_s=arrival,
                sent_s=arrival,
                first_token_s=begin + length / 10,
                done_s=begin + length,
            )
        )
    return rows


def closed_loop(slowdown: float, seed: int, *, slots: int = 8, waves: int = 20) -> Transcript:
    """Answer after 1 s and some noise, `slowdown` of it more at the end than at the start."""
    rng, rows = np.random.default_rng(seed), []
    ready = [0.0] * slots
    count = slots * waves
    for number in range(count):
        sent = heapq.heappop(ready)
        done = sent + (1 + slowdown * number / count) * rng.lognormal(0, 0.05)
        heapq.heappush(ready, done)
        rows.append(RequestRow(request=number, due_s=sent, sent_s=sent, done_s=done))
    return Transcript.of(rows)


def grows(run: Transcript) -> bool:
    waiting, ttft = queue_trends(run)
    return bool(waiting and ttft and min(waiting.low, ttft.low) > MOST_GROWTH)


@given(change=st.floats(-0.9, 5.0), level=st.floats(1e-3, 1e3), shift=st.floats(0, 1e3))
def test_a_straight_line_is_its_own_trend_whatever_its_units(
    change: float, level: float, shift: float
) -> None:
    at_s = np.linspace(0, 60, 200)
    found = trend(at_s + shift, level * (1 + change * (at_s / 60 - 0.5)))
    assert found is not None
    assert found.change == pytest.approx(change, abs=1e-6)
    assert found.low == pytest.approx(found.high, abs=1e-5)


def test_the_order_in_which_requests_are_kept_changes_nothing() -> None:
    rows = queue_rows(1.2, 300, seed=3)
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = Transcript.of(rows[place] for place in order)
    assert queue_trends(Transcript.of(rows)) == queue_trends(shuffled)


def test_too_few_requests_say_nothing() -> None:
    few = np.arange(FEWEST - 1.0)
    assert trend(few, few) is None
    assert latency_trend(Transcript.of([]), 4) is None
    assert latency_trend(closed_loop(3.0, seed=0, waves=3), 8) is None


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.5, 0.8, 0.9])
def test_a_queue_that_is_kept_up_with_is_not_called_growing(load: float) -> None:
    assert sum(grows(queue(load, 500, seed)) for seed in range(20)) <= 1


@pytest.mark.parametrize("load", [1.5, 2.0, 4.0])
def test_a_queue_beyond_capacity_is_called_growing(load: float) -> None:
    assert all(grows(queue(load, 500, seed)) for seed in range(10))


def test_a_closed_loop_that_holds_still_shows_no_drift_and_one_that_slows_down_does() -> None:
    still = [latency_trend(closed_loop(0.0, seed), 8) for seed in range(20)]
    assert not any(found.beyond(MOST_DRIFT) for found in still if found)
    slower = [latency_trend(closed_loop(0.5, seed), 8) for seed in range(20)]
    assert all(found is not None and found.beyond(MOST_DRIFT) for found in slower)
