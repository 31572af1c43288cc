"""What this client costs and adds on this machine, against a server that answers at once."""

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import numpy as np

from catalog.errors import RunFailed
from catalog.python import python_module
from workloads.client.load_run import measure
from workloads.client.nullserver import MODEL
from workloads.client.runstats import RunStats
from workloads.load.dispatch import Dispatcher
from workloads.transcript import RequestRow
from workloads.transport.target import Target

ROUNDS = 8
LONG_ANSWER = 32
START_TIMEOUT_S = 20.0


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The client alone; times are medians, since a shared machine spoils means."""

    concurrency: int
    cpu_s_per_request: float
    """CPU of sending a request and reading an answer of one token."""
    cpu_s_per_read: float
    """CPU of one further read."""
    added_ttft_s: float
    """From due to first token with everything sent at once: what this client cannot see below."""
    requests_per_s: float


async def calibrate(concurrency: int = 32) -> Calibration:
    """Measure the client against a null server in a process of its own, in about a second."""
    async with _null_server() as url:
        await _run(url, concurrency, 1)
        short, rows = await _run(url, concurrency, 1)
        long, _ = await _run(url, concurrency, LONG_ANSWER)
    per_request_s = short.cpu_s / short.requests
    more_reads = long.reads - short.reads
    more_cpu_s = long.cpu_s - short.cpu_s
    ttfts_s = [row.first_token_s - row.due_s for row in rows if row.first_token_s is not None]
    return Calibration(
        concurrency=concurrency,
        cpu_s_per_request=per_request_s,
        cpu_s_per_read=max(more_cpu_s, 0.0) / more_reads if more_reads > 0 else per_request_s,
        added_ttft_s=float(np.median(ttfts_s)),
        requests_per_s=short.requests / short.duration_s,
    )


async def _run(url: str, concurrency: int, tokens: int) -> tuple[RunStats, list[RequestRow]]:
    rows: list[RequestRow] = []
    count = ROUNDS * concurrency
    stats = await measure(
        Target(base_url=url, model=MODEL),
        ["a"] * count,
        output_len=tokens,
        dispatcher=Dispatcher(count, max_concurrency=concurrency, due_s=None),
        on_row=rows.append,
    )
    failed = [row for row in rows if row.status != "ok"]
    if failed:
        raise RunFailed(f"the calibration failed: {failed[0].error_class} {failed[0].error}")
    return stats, rows


@asynccontextmanager
async def _null_server() -> AsyncIterator[str]:
    command = python_module("workloads.client.nullserver")
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await process.stdout.readline()
        if not line:
            raise RunFailed("the calibration's null server did not start")
        yield f"http://127.0.0.1:{int(line)}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
