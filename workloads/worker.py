"""One process of a client of several: `python -m workloads.worker`, which listens on its input."""

import asyncio
import os
import sys
from collections.abc import Callable

import msgspec
import numpy as np

from workloads.client import Run
from workloads.frames import (
    Done,
    FromWorker,
    Job,
    Ready,
    Report,
    Row,
    Start,
    frame,
    receive,
    to_worker,
)
from workloads.payloads import Payloads, Prompts
from workloads.sharing import QueueDispatcher
from workloads.target import Target

LARGEST_MESSAGE = 1 << 30


def target_of(job: Job) -> Target:
    return Target(
        base_url=job.base_url,
        model=job.model,
        api_key=job.api_key,
        endpoint=job.endpoint,
        return_token_ids=job.return_token_ids,
        extra_body={name: msgspec.json.decode(value) for name, value in job.extra_body.items()},
        ca_file=job.ca_file,
        connect_timeout_s=job.connect_timeout_s,
        idle_timeout_s=job.idle_timeout_s,
        request_timeout_s=job.request_timeout_s,
    )


def prompts_of(job: Job) -> Prompts:
    if job.texts:
        return job.texts
    return np.frombuffer(job.token_ids, np.int32).reshape(-1, job.input_len)


async def work(reader: asyncio.StreamReader, say: Callable[[FromWorker], None]) -> None:
    """Prepare the job, run it from the told start, report each row; end if the parent ends."""
    job = await receive(reader, to_worker)
    if not isinstance(job, Job):
        return
    payloads = Payloads(target_of(job), prompts_of(job), job.output_len)
    dispatcher = QueueDispatcher(job.queue_fd, job.slots, job.due_s)
    run = Run(target_of(job), payloads, dispatcher, lambda row: say(Row.of(row)))
    try:
        await run.prepare()
        say(Ready())
        start = await receive(reader, to_worker)
        if isinstance(start, Start):
            await _load(run, start, reader, say)
    finally:
        await run.close()


async def _load(
    run: Run, start: Start, reader: asyncio.StreamReader, say: Callable[[FromWorker], None]
) -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(_stop_when_told(reader, stop))
    await run.load(stop, lambda progress: say(Report(progress)), start=start.instant)
    waiting.cancel()
    say(Done(run.stats()))


async def _stop_when_told(reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
    """Both a Stop and the parent's end mean stop; without a parent nobody reads the rows."""
    if await receive(reader, to_worker) is None:
        os._exit(1)
    stop.set()


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LARGEST_MESSAGE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    await work(reader, lambda message: transport.write(frame(message)))
    transport.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
