"""Several processes with one queue: nothing is done twice, nothing is left, nobody is left over."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from catalog.errors import RunFailed
from tests.machine import limit
from workloads.client.runstats import RunStats
from workloads.client.shared_queue import QueueDispatcher, SharedQueue
from workloads.client.worker_pool import WorkersPlan, measure_with_workers
from workloads.load.arrivals import due_times
from workloads.load.prompts import token_prompts
from workloads.transcript import RequestRow
from workloads.transport.target import Target


async def run(
    url: str, count: int, *, stop: asyncio.Event | None = None, **plan: Any
) -> tuple[list[RequestRow], RunStats]:
    rows: list[RequestRow] = []
    prompts = token_prompts(np.random.default_rng(0), count=count, length=4, vocab=1000)
    async with asyncio.timeout(limit(60)):
        stats = await measure_with_workers(
            Target(base_url=url, model="m", extra_body={"seed": 7}),
            prompts,
            plan=WorkersPlan(output_len=3, **plan),
            on_row=rows.append,
            stop=stop,
        )
    return rows, stats


def children() -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # another test's, which has just ended
            if "workloads.client.worker" in " ".join(one.cmdline()):
                found.append(one)
    return found


@pytest.mark.slow
async def test_each_request_is_sent_once_and_the_concurrency_is_shared(
    serve: Any, wire: Any
) -> None:
    answer = wire.answer(wire.stream(3))
    server = await serve(lambda n: [0.002, answer])
    rows, stats = await run(server.url, 150, workers=2, max_concurrency=5)
    assert sorted(row.request for row in rows) == list(range(150))
    assert {row.status for row in rows} == {"ok"}
    assert server.peak <= 5
    assert (stats.workers, stats.sent, stats.unsent) == (2, 150, 0)
    assert all(b'"seed":7' in request for request in server.requests)
    assert not children()


@pytest.mark.slow
async def test_a_schedule_is_kept_over_processes(serve: Any, wire: Any) -> None:
    server = await serve([wire.answer(wire.stream(3))])
    due_s = due_times(np.random.default_rng(1), 60, rate_per_s=100.0)
    rows, _ = await run(server.url, 60, workers=2, due_s=due_s.tolist())
    assert {row.request: row.due_s for row in rows} == dict(enumerate(due_s.tolist()))
    lags = [(row.sent_s or 0) - row.due_s for row in rows]
    assert min(lags) >= 0
    assert np.median(lags) < limit(0.25)


@pytest.mark.slow
async def test_a_stop_reaches_every_process(serve: Any, wire: Any) -> None:
    stop = asyncio.Event()

    def script(request: int) -> list[Any]:
        if request == 20:
            stop.set()
        return [0.02, wire.answer(wire.stream(3))]

    server = await serve(script)
    rows, stats = await run(server.url, 1000, workers=2, max_concurrency=4, stop=stop)
    assert 20 < len(rows) < 200
    assert stats.unsent == 1000 - len(rows)


@pytest.mark.slow
async def test_a_process_that_dies_ends_the_run_with_its_reason(serve: Any, wire: Any) -> None:
    def script(request: int) -> list[Any]:
        if request == 10:
            os.kill(children()[0].pid, signal.SIGKILL)
        return [0.01, wire.answer(wire.stream(3))]

    server = await serve(script)
    with pytest.raises(RunFailed, match=r"ended by itself \(exit code -9\)"):
        await run(server.url, 500, workers=2, max_concurrency=4)
    assert not children()


@pytest.mark.slow
async def test_the_key_is_not_in_any_command_line(serve: Any, wire: Any) -> None:
    seen: list[str] = []

    def script(request: int) -> list[Any]:
        seen.extend(" ".join(one.cmdline()) for one in children())
        return [wire.answer(wire.stream(3))]

    server = await serve(script)
    await measure_with_workers(
        Target(base_url=server.url, model="m", api_key="sk-canary"),
        ["hello"],
        plan=WorkersPlan(output_len=3, workers=1, max_concurrency=1),
        on_row=lambda _: None,
    )
    assert seen
    assert "sk-canary" not in " ".join(seen)
    assert b"Bearer sk-canary" in server.requests[0]


async def test_a_queue_gives_each_number_to_one_reader_in_order() -> None:
    queue = SharedQueue(range(20_000))
    readers = [QueueDispatcher(queue.read_fd, 3, None) for _ in range(2)]
    taken: list[list[int]] = [[], []]
    while not all(reader.exhausted for reader in readers):
        for reader, mine in zip(readers, taken, strict=True):
            for request, _ in reader.take(0.0):
                mine.append(request)
                reader.done(request, 0.0)
        await asyncio.sleep(0)
    queue.close()
    assert sorted(taken[0] + taken[1]) == list(range(20_000))
    assert all(mine == sorted(mine) for mine in taken)


@pytest.mark.parametrize(
    ("cap", "count", "workers", "slots"),
    [(5, 100, 2, [3, 2]), (1, 100, 4, [1]), (8, 3, 2, [2, 1]), (None, 10, 2, [10, 10])],
)
def test_slots_are_divided_and_no_process_is_without(
    cap: int | None, count: int, workers: int, slots: list[int]
) -> None:
    assert WorkersPlan(output_len=1, workers=workers, max_concurrency=cap).slots(count) == slots


@pytest.mark.slow
def test_a_worker_without_a_parent_ends(tmp_path: Path) -> None:
    import subprocess
    import sys

    process = subprocess.run(
        [sys.executable, "-m", "workloads.client.worker"],
        input=b"",
        capture_output=True,
        timeout=limit(20),
        check=False,
    )
    assert (process.returncode, process.stdout) == (0, b"")
