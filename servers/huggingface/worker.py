"""The thread that decodes, and the queue before it.

Batches are static: when the decoder is free, the request that has waited longest runs together
with those behind it of the same shape (prompt length and tokens wanted), as many as the decoder
takes; nobody joins a batch that runs. A request whose client has gone leaves at the next pass.
"""

import asyncio
import contextlib
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from servers.http.generation import Finish
from servers.huggingface.decoder import CompletionRequest, Decoder, Passes, TokenChunk

MOST_WAITING = 4096
JOIN_S = 10.0

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Update:
    """What became of a request: further tokens, its end, or why it failed."""

    tokens: tuple[int, ...] = ()
    finish: Finish | None = None
    error: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the answer, with its end."""

    @property
    def last(self) -> bool:
        return self.finish is not None or bool(self.error)


@dataclass(slots=True, eq=False)
class DecodeJob:
    """A request in the worker; `on_update` is called in the event loop."""

    request: CompletionRequest
    on_update: Callable[[Update], None]
    cancelled: bool = False
    sent: int = field(default=0, init=False)

    def cut(self, piece: TokenChunk, eos: frozenset[int]) -> Update:
        """Return the part of further tokens that belongs to the answer."""
        tokens = piece.tokens[: self.request.max_tokens - self.sent]
        ends = (
            () if self.request.ignore_eos else [i for i, token in enumerate(tokens) if token in eos]
        )
        if ends:
            tokens = tokens[: ends[0] + 1]
        self.sent += len(tokens)
        full: Finish | None = "length" if self.sent == self.request.max_tokens else None
        return Update(tokens, "stop" if ends else full, extras=piece.extras)


class DecodeWorker:
    """Serves jobs in the order they came; made inside a running event loop."""

    # For the metrics: no cache outlives a request.
    kv_usage, preemptions, prefix_queries, prefix_hits = 0.0, 0, 0, 0

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._waiting: list[DecodeJob] = []
        self._running: list[DecodeJob] = []
        self._calls: list[Callable[[], None]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def add(self, job: DecodeJob) -> bool:
        """Queue a job; False when the queue is full."""
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting.append(job)
            self._changed.notify()
        return True

    async def call(self, function: Callable[[], ResultT]) -> ResultT:
        """Run a function in the decoder's thread, before any batch that waits."""
        future: Future[ResultT] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - it is the request's failure, not the server's
                traceback.print_exc(file=sys.stderr)
                future.set_exception(error)

        with self._changed:
            self._calls.append(run)
            self._changed.notify()
        return await asyncio.wrap_future(future)

    def cancel(self, job: DecodeJob) -> None:
        """Forget a job whose client has gone; one that has ended already is left as it is."""
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)

    def stop(self) -> None:
        """End the thread at its next forward pass; blocks for as long as that takes."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        while batch := self._next_batch():
            self._serve(batch)

    def _run_call(self, call: Callable[[], None]) -> None:
        """Run a call without holding the lock that the caller holds."""
        self._changed.release()
        try:
            call()
        finally:
            self._changed.acquire()

    def _next_batch(self) -> list[DecodeJob]:
        """Wait for work; an empty batch says that there will be none."""
        with self._changed:
            self._running = []
            self._changed.wait_for(lambda: self._calls or self._waiting or self._stopping)
            while self._calls and not self._stopping:
                self._run_call(self._calls.pop(0))
                self._changed.wait_for(lambda: self._calls or self._waiting or self._stopping)
            if self._stopping:
                return []
            shape = self._waiting[0].request.shape
            alike = [job for job in self._waiting if job.request.shape == shape]
            self._running = alike[: self.decoder.max_batch]
            self._waiting = [job for job in self._waiting if job not in self._running]
            return self._running

    def _serve(self, batch: list[DecodeJob]) -> None:
        live = dict(enumerate(batch))
        try:
            with contextlib.closing(self.decoder.decode([job.request for job in batch])) as passes:
                self._deliver(passes, live)
            problem = "the decoder ended before the answer did"
        except Exception as error:  # noqa: BLE001 - it is the requests' failure, not the server's
            traceback.print_exc(file=sys.stderr)
            problem = f"{type(error).__name__}: {error}"
        for job in live.values():
            self._notify(job, Update(error=problem))

    def _deliver(self, passes: Passes, live: dict[int, DecodeJob]) -> None:
        """Hand out tokens as they come, until no job of the batch is left in `live`."""
        for pieces in passes:
            for piece in pieces:
                if piece.row in live:
                    update = live[piece.row].cut(piece, self.decoder.eos)
                    self._notify(live[piece.row], update)
                    if update.last:
                        del live[piece.row]
            for row in [row for row, job in live.items() if job.cancelled]:
                del live[row]
            if not live or self._stopping:
                return

    def _notify(self, job: DecodeJob, update: Update) -> None:
        if not job.cancelled:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                self._loop.call_soon_threadsafe(job.on_update, update)
