"""One process of several that send: `python -m workloads.client.worker`, driven by stdin."""

import asyncio
import os
import sys
from collections.abc import Callable

import msgspec
import numpy as np

from workloads.client.frames import (
    FromWorker,
    LoadJob,
    ProgressMessage,
    RowMessage,
    StartLoad,
    WorkerDone,
    WorkerReady,
    frame,
    receive,
    to_worker,
)
from workloads.client.load_run import LoadRun
from workloads.client.payloads import Answers, Payloads
from workloads.client.shared_queue import QueueDispatcher
from workloads.load.turns import Turns
from workloads.transport.target import Prompt, Target

LARGEST_MESSAGE = 1 << 30


def target_of(job: LoadJob) -> Target:
    return Target(
        base_url=job.base_url,
        model=job.model,
        api_key=job.api_key,
        endpoint=job.endpoint,
        return_token_ids=job.return_token_ids,
        extra_body={name: msgspec.json.decode(value) for name, value in job.extra_body.items()},
        headers=job.headers,
        omit_fields=job.omit_fields,
        ca_file=job.ca_file,
        insecure=job.insecure,
        ends_at_done=job.ends_at_done,
        connect_timeout_s=job.connect_timeout_s,
        idle_timeout_s=job.idle_timeout_s,
        request_timeout_s=job.request_timeout_s,
    )


def prompts_of(job: LoadJob) -> list[Prompt]:
    ids = np.frombuffer(job.token_ids, np.int32)
    pieces = np.split(ids, np.cumsum(job.input_lens)[:-1]) if job.input_lens else []
    texts = iter(job.texts)
    return [
        ids if length else next(texts) for ids, length in zip(pieces, job.input_lens, strict=True)
    ]


async def run_job(reader: asyncio.StreamReader, send: Callable[[FromWorker], None]) -> None:
    """Prepare the job, run it from the given start, report each row; end if the parent ends."""
    job = await receive(reader, to_worker)
    if not isinstance(job, LoadJob):
        return
    answers = Answers(job.output_lens, job.natural)
    payloads = Payloads(target_of(job), prompts_of(job), answers)
    turns = None if job.following is None else Turns(job.following, job.think_s)
    dispatcher = QueueDispatcher(job.queue_fd, job.slots, job.due_s, turns)
    run = LoadRun(target_of(job), payloads, dispatcher, lambda row: send(RowMessage.of(row)))
    try:
        await run.prepare()
        send(WorkerReady())
        start = await receive(reader, to_worker)
        if isinstance(start, StartLoad):
            await _load(run, start, reader, send)
    finally:
        await run.close()


async def _load(
    run: LoadRun, start: StartLoad, reader: asyncio.StreamReader, send: Callable[[FromWorker], None]
) -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(_stop_on_message(reader, stop))
    await run.load(stop, lambda progress: send(ProgressMessage(progress)), start=start.instant)
    waiting.cancel()
    send(WorkerDone(run.stats()))


async def _stop_on_message(reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
    """Both a Stop and the parent's end mean stop; without a parent nobody reads the rows."""
    if await receive(reader, to_worker) is None:
        os._exit(1)
    stop.set()


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LARGEST_MESSAGE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    await run_job(reader, lambda message: transport.write(frame(message)))
    transport.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
