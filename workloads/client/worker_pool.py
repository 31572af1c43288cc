"""A client of several processes: one queue of requests, one merged record."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import msgspec
import numpy as np

from catalog.errors import RunFailed
from catalog.python import python_module
from workloads.client.frames import (
    FromWorker,
    LoadJob,
    ProgressMessage,
    RowMessage,
    StartLoad,
    StopLoad,
    ToWorker,
    WorkerDone,
    WorkerReady,
    frame,
    from_worker,
    receive,
)
from workloads.client.payloads import Answers, Prompts
from workloads.client.progress import Progress
from workloads.client.runstats import RunStats, merged
from workloads.client.shared_queue import SharedQueue
from workloads.load.turns import Turns
from workloads.transcript import RequestRow
from workloads.transport.target import Target

LEAD_S = 0.05
"""From the word to the start, so that every process is awake for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersPlan:
    """What the processes share: `due_s` for an open loop, `max_concurrency` for a closed one."""

    output_len: int | Answers
    workers: int
    max_concurrency: int | None = None
    due_s: Sequence[float] | None = None
    turns: Turns | None = None

    def slots(self, count: int) -> list[int]:
        """Divide the concurrency over the processes; none is left without."""
        total = count if self.max_concurrency is None else min(self.max_concurrency, count)
        workers = max(1, min(self.workers, total))
        if self.max_concurrency is None:
            return [total] * workers
        return [total // workers + (index < total % workers) for index in range(workers)]


async def measure_with_workers(
    target: Target,
    prompts: Prompts,
    *,
    plan: WorkersPlan,
    on_row: Callable[[RequestRow], None],
    on_progress: Callable[[Progress], None] | None = None,
    stop: asyncio.Event | None = None,
) -> RunStats:
    """Do what `measure` does with `plan.workers` processes.

    All take the next request from one queue, so none waits while another has too much; random
    draws (prompts, due times) are the caller's and do not depend on the number of processes.
    """
    queue = SharedQueue(plan.turns.first if plan.turns else range(len(prompts)))
    workers: list[_WorkerProcess] = []
    try:
        for slots in plan.slots(len(prompts)):
            job = _job(target, prompts, plan, slots, queue.read_fd)
            workers.append(await _WorkerProcess.start(job))
        pool = _WorkerPool(workers, on_row, on_progress)
        return await pool.run(stop or asyncio.Event())
    finally:
        queue.close()
        for worker in workers:
            await worker.end()


def _job(target: Target, prompts: Prompts, plan: WorkersPlan, slots: int, queue_fd: int) -> LoadJob:
    answers, turns = Answers.of(plan.output_len, len(prompts)), plan.turns
    ids = [prompt for prompt in prompts if isinstance(prompt, np.ndarray)]
    return LoadJob(
        base_url=target.base_url,
        model=target.model,
        api_key=target.api_key,
        endpoint=target.endpoint,
        return_token_ids=target.return_token_ids,
        extra_body={
            name: msgspec.Raw(msgspec.json.encode(value))
            for name, value in target.extra_body.items()
        },
        headers=dict(target.headers),
        omit_fields=target.omit_fields,
        ca_file=target.ca_file,
        insecure=target.insecure,
        ends_at_done=target.ends_at_done,
        connect_timeout_s=target.connect_timeout_s,
        idle_timeout_s=target.idle_timeout_s,
        request_timeout_s=target.request_timeout_s,
        token_ids=b"".join(np.asarray(each, np.int32).tobytes() for each in ids),
        input_lens=[len(each) if isinstance(each, np.ndarray) else 0 for each in prompts],
        texts=[each for each in prompts if not isinstance(each, np.ndarray)],
        output_lens=list(answers.output_lens),
        natural=None if answers.natural is None else list(answers.natural),
        following=None if turns is None else list(turns.following),
        think_s=[] if turns is None else list(turns.think_s),
        slots=slots,
        due_s=None if plan.due_s is None else list(map(float, plan.due_s)),
        queue_fd=queue_fd,
    )


class _WorkerProcess:
    """A process and the two ends of talk with it."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, job: LoadJob) -> "_WorkerProcess":
        command = python_module("workloads.client.worker")
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, pass_fds=(job.queue_fd,), start_new_session=True
        )
        worker = cls(process)
        await worker.send(job)
        return worker

    async def send(self, message: ToWorker) -> None:
        self._stdin.write(frame(message))
        await self._stdin.drain()

    async def receive(self) -> FromWorker:
        """Return what the worker says next; raises `RunFailed` if it has ended instead."""
        message = await receive(self._stdout, from_worker)
        if message is None:
            code = await self._process.wait()
            raise RunFailed(f"a process of the load generator ended by itself (exit code {code})")
        return message

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class _WorkerPool:
    """The workers of a run, heard together."""

    def __init__(
        self,
        workers: Sequence[_WorkerProcess],
        on_row: Callable[[RequestRow], None],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._workers, self._on_row, self._on_progress = workers, on_row, on_progress
        self._progress = dict.fromkeys(range(len(workers)), Progress(0, 0, 0, 0))

    async def run(self, stop: asyncio.Event) -> RunStats:
        for worker in self._workers:
            if not isinstance(await worker.receive(), WorkerReady):
                raise RunFailed("a process of the load generator did not get ready")
        start = StartLoad(perf_counter() + LEAD_S)
        await asyncio.gather(*(worker.send(start) for worker in self._workers))
        stopping = asyncio.create_task(self._stop(stop))
        try:
            async with asyncio.TaskGroup() as group:
                receiving = [
                    group.create_task(self._receive_from(index, worker))
                    for index, worker in enumerate(self._workers)
                ]
        except ExceptionGroup as failures:
            # Not `except*`: before Python 3.11.4 it wraps what is raised in it once more.
            failed, rest = failures.split(RunFailed)
            if failed is None or rest is not None:
                raise
            raise failed.exceptions[0] from None
        finally:
            stopping.cancel()
        return merged([task.result() for task in receiving])

    async def _stop(self, stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.gather(*(worker.send(StopLoad()) for worker in self._workers))

    async def _receive_from(self, index: int, worker: _WorkerProcess) -> RunStats:
        while True:
            message = await worker.receive()
            if isinstance(message, RowMessage):
                self._on_row(message.row())
            elif isinstance(message, ProgressMessage):
                self._report(index, message.progress)
            elif isinstance(message, WorkerDone):
                return message.stats

    def _report(self, index: int, progress: Progress) -> None:
        self._progress[index] = progress
        if self._on_progress is not None:
            parts = self._progress.values()
            self._on_progress(
                Progress(
                    sent=sum(part.sent for part in parts),
                    ended=sum(part.ended for part in parts),
                    in_flight=sum(part.in_flight for part in parts),
                    reads=sum(part.reads for part in parts),
                )
            )
