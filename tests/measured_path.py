"""A run of the client against a server, for the tests of what it measures."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.machine import limit
from workloads.client.load_run import measure
from workloads.client.progress import Progress
from workloads.client.runstats import RunStats
from workloads.load.dispatch import Dispatcher
from workloads.load.prompts import token_prompts
from workloads.transcript import RequestRow
from workloads.transport.target import Target


async def run(
    url: str,
    count: int = 1,
    *,
    concurrency: int | None = 1,
    output_len: int = 3,
    due_s: Sequence[float] | None = None,
    stop: asyncio.Event | None = None,
    reports: list[Progress] | None = None,
    **target: Any,
) -> tuple[list[RequestRow], RunStats]:
    rows: list[RequestRow] = []
    prompts = token_prompts(np.random.default_rng(0), count=count, length=4, vocab=1000)
    async with asyncio.timeout(limit(30)):
        stats = await measure(
            Target(base_url=url, model="m", **target),
            prompts,
            output_len=output_len,
            dispatcher=Dispatcher(count, max_concurrency=concurrency, due_s=due_s),
            on_row=rows.append,
            on_progress=None if reports is None else reports.append,
            stop=stop,
        )
    return rows, stats


def classes(rows: list[RequestRow]) -> Counter[str]:
    return Counter(row.error_class for row in rows)
