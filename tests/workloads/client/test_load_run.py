"""The measured path against a server that does just what a test asks of it."""

import asyncio
from typing import Any

import numpy as np
import pytest

from tests.machine import limit
from tests.measured_path import classes, run
from workloads.client.load_run import measure
from workloads.client.progress import Progress
from workloads.load.arrivals import due_times
from workloads.load.dispatch import Dispatcher
from workloads.load.prompts import token_prompts
from workloads.transcript import RequestRow
from workloads.transport.target import Target

pytestmark = pytest.mark.usefixtures("reader")

BUSY_S = limit(0.25)
"""What a machine that is busy with other things may add to an instant."""


async def test_a_good_answer_is_a_row_with_a_time_for_each_token(
    serve: Any, wire: Any, reader: str
) -> None:
    server = await serve([wire.answer(wire.stream(3))])
    rows, stats = await run(server.url)
    assert stats.compiled_reader == (reader == "compiled")
    (row,) = rows
    assert (row.status, row.error_class, row.output_tokens, row.input_tokens) == ("ok", "", 3, 4)
    assert row.finish_reason == "length"
    assert row.sent_s is not None
    assert row.first_token_s is not None
    assert row.done_s is not None
    assert 0 <= row.due_s <= row.sent_s <= row.first_token_s <= row.token_times_s[-1] <= row.done_s
    assert (stats.requests, stats.reads, stats.connects, stats.unsent) == (1, 1, 1, 0)


async def test_token_times_are_when_the_tokens_came(serve: Any, wire: Any) -> None:
    events = wire.stream(3)
    pieces = [wire.chunk(one) for one in events]
    script = [wire.HEAD, 0.05, pieces[0], 0.1, pieces[1], 0.05, b"".join(pieces[2:]) + wire.LAST]
    server = await serve(script)
    rows, _ = await run(server.url)
    times = rows[0].token_times_s - rows[0].sent_s
    late = times - np.array([0.05, 0.15, 0.2])
    assert (late > -0.002).all()
    assert (late < BUSY_S).all()


async def test_a_closed_loop_never_has_more_in_flight_than_asked(serve: Any, wire: Any) -> None:
    answer = wire.answer(wire.stream(3))
    server = await serve(lambda n: [answer[:90], 0.001 * (n % 7), answer[90:]])
    rows, stats = await run(server.url, 200, concurrency=13)
    assert server.peak == stats.peak_in_flight == 13
    assert classes(rows) == {"": 200}
    assert server.connections == 13
    assert sorted(row.request for row in rows) == list(range(200))


async def test_an_open_loop_keeps_its_schedule(serve: Any, wire: Any) -> None:
    server = await serve([0.2, wire.answer(wire.stream(3))])
    due_s = due_times(np.random.default_rng(3), 100, rate_per_s=200.0)
    rows, stats = await run(server.url, 100, concurrency=None, due_s=due_s.tolist())
    assert classes(rows) == {"": 100}
    lags = np.array([(row.sent_s or 0) - row.due_s for row in rows])
    assert (lags >= 0).all()
    assert np.median(lags) < BUSY_S
    assert server.peak > 20
    assert stats.p99_dispatch_lag_s == pytest.approx(np.percentile(lags, 99))


async def test_a_capped_open_loop_counts_the_wait_for_a_slot(serve: Any, wire: Any) -> None:
    server = await serve([0.1, wire.answer(wire.stream(3))])
    rows, _ = await run(server.url, 3, concurrency=1, due_s=[0.0, 0.0, 0.0])
    late = np.array([(row.sent_s or 0) - row.due_s for row in rows]) - np.array([0.0, 0.1, 0.2])
    assert (late > -0.002).all()
    assert (late < BUSY_S).all()
    assert server.peak == 1


@pytest.mark.slow
async def test_large_prompts_are_sent_whole(serve: Any, wire: Any) -> None:
    server = await serve([wire.answer(wire.stream(3))])
    rows: list[RequestRow] = []
    prompts = token_prompts(np.random.default_rng(0), count=2, length=100_000, vocab=100_000)
    await measure(
        Target(base_url=server.url, model="m"),
        prompts,
        output_len=3,
        dispatcher=Dispatcher(2, max_concurrency=2, due_s=None),
        on_row=rows.append,
    )
    assert classes(rows) == {"": 2}
    assert min(map(len, server.requests)) > 500_000


async def test_a_stop_sends_nothing_more_and_drains_what_is_in_flight(
    serve: Any, wire: Any
) -> None:
    stop = asyncio.Event()

    def script(request: int) -> list[Any]:
        if request == 3:
            stop.set()
        return [0.1, wire.answer(wire.stream(3))]

    server = await serve(script)
    rows, stats = await run(server.url, 100, concurrency=2, stop=stop)
    assert classes(rows) == {"": 4}
    assert stats.unsent == 96


async def test_progress_is_reported_and_ends_with_everything(serve: Any, wire: Any) -> None:
    server = await serve([0.05, wire.answer(wire.stream(3))])
    reports: list[Progress] = []
    await run(server.url, 10, concurrency=2, reports=reports)
    assert len(reports) >= 2
    assert (reports[-1].sent, reports[-1].ended, reports[-1].in_flight) == (10, 10, 0)


async def test_nothing_to_send_is_a_run_of_nothing(serve: Any, wire: Any) -> None:
    server = await serve([wire.answer(wire.stream(3))])
    rows, stats = await run(server.url, 0)
    assert (rows, stats.requests) == ([], 0)
