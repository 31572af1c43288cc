"""The measured path: send what is due, stamp what arrives, decode later.

A turn reads every socket that has something and only then sends. Reading is one `recv`, one time
stamp and an entry in a trace; an answer is decoded when the load is over, or in its pauses if there
is much of it (see `replay`). Sockets are the client's own, behind one poller beside the asyncio
loop's (see `waiting`), so health checks and metrics go on in the same loop.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import perf_counter, thread_time

from workloads.client.housekeeping import Housekeeper
from workloads.client.limits import allow_open_files
from workloads.client.payloads import Answers, Payloads, Prompts
from workloads.client.progress import Progress
from workloads.client.runstats import RunStats, spread
from workloads.client.session import LoadSession
from workloads.load.dispatch import Dispatch
from workloads.protocol.exchange import Exchange
from workloads.transcript import RequestRow
from workloads.transport.target import Target

PREPARE_S = 60.0
DRAIN_S = 30.0
DECODE_S = 0.005


async def measure(  # noqa: PLR0913 - what is sent, where, when, and whom to tell are all needed
    target: Target,
    prompts: Prompts,
    *,
    output_len: int | Answers,
    dispatcher: Dispatch,
    on_row: Callable[[RequestRow], None],
    on_progress: Callable[[Progress], None] | None = None,
    stop: asyncio.Event | None = None,
) -> RunStats:
    """Send every request when it is due and report each as a row, in the order they ended.

    Once `stop` is set nothing more is sent; requests in flight have 30 s to end, then their rows
    say `interrupted`. A request that cannot be sent or answered is a row too, never an exception.
    """
    run = LoadRun(target, Payloads(target, prompts, output_len), dispatcher, on_row)
    try:
        await run.prepare()
        await run.load(stop or asyncio.Event(), on_progress)
        return run.stats()
    finally:
        await run.close()


class LoadRun:
    """A session from its preparation to its last decoded row."""

    def __init__(
        self,
        target: Target,
        payloads: Payloads,
        dispatcher: Dispatch,
        on_row: Callable[[RequestRow], None],
    ) -> None:
        allow_open_files(dispatcher.standby, dispatcher.slots)
        self._on_row = on_row
        self._session = LoadSession(target, payloads, dispatcher, self._report)
        self._watch: Housekeeper
        self._reads = self._events = self._coalesced = self._bytes = 0
        self._cpu_s = self._duration_s = 0.0

    def _report(self, exchange: Exchange) -> None:
        decoder = exchange.decoder
        self._reads += decoder.reads
        self._events += decoder.events
        self._coalesced += decoder.coalesced_reads
        self._bytes += decoder.bytes
        payloads, request = self._session.payloads, exchange.request
        sent, most = payloads.input_tokens(request), payloads.most_input_tokens(request)
        self._on_row(exchange.row(self._session.start, sent, most))

    async def prepare(self) -> None:
        """Build requests and open connections, so that the load finds both ready."""
        session = self._session
        session.payloads.prepare(PREPARE_S)
        await session.pool.fill(session.dispatcher.standby)

    async def load(
        self,
        stop: asyncio.Event,
        on_progress: Callable[[Progress], None] | None = None,
        *,
        start: float | None = None,
    ) -> None:
        """Run the load, from the instant `start` of `perf_counter` on or now; decode the rest."""
        self._watch = Housekeeper(self._session, on_progress)
        with quiet_collector():
            if start is not None:
                await asyncio.sleep(max(0.0, start - perf_counter()))
            begin, cpu_s = perf_counter() if start is None else start, thread_time()
            await self._send_all(begin, stop)
            self._duration_s, self._cpu_s = perf_counter() - begin, thread_time() - cpu_s
        await self._decode_rest()

    async def _decode_rest(self) -> None:
        self._session.trace.seal()
        left = True
        while left:
            left = self._session.replay.replay_for(DECODE_S)
            await asyncio.sleep(0)

    async def _send_all(self, start: float, stop: asyncio.Event) -> None:
        session = self._session
        session.begin(start)
        self._watch.begin()
        await _either(session.finished, stop)
        if session.crash is not None:
            raise session.crash
        session.stop()
        await self._drain()
        self._watch.end()

    async def _drain(self) -> None:
        """Wait for what is in flight, then give it up."""
        session = self._session
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await session.finished.wait()
                return
        await session.pool.give_up_opening()
        for connection in list(session.pool.table.values()):
            session.give_up(connection, "INTERRUPTED", f"not complete {DRAIN_S:g} s after the stop")

    def stats(self) -> RunStats:
        session, duration_s = self._session, self._duration_s
        loop_lags, dispatch_lags = spread(self._watch.lags_s), spread(session.dispatch_lags_s)
        return RunStats(
            duration_s=duration_s,
            requests=session.ended,
            sent=session.sent,
            reads=self._reads,
            bytes=self._bytes,
            events=self._events,
            coalesced_reads=self._coalesced,
            connects=session.pool.connects,
            reconnects=session.reconnects,
            peak_in_flight=session.peak,
            cpu_s=self._cpu_s,
            cpu_share=self._cpu_s / duration_s,
            busy_share=session.busy_s / duration_s,
            decode_s=session.replay.decode_s,
            longest_turn_s=session.longest_turn_s,
            mean_loop_lag_s=loop_lags[0],
            p99_loop_lag_s=loop_lags[1],
            max_loop_lag_s=loop_lags[2],
            mean_dispatch_lag_s=dispatch_lags[0],
            p99_dispatch_lag_s=dispatch_lags[1],
            max_dispatch_lag_s=dispatch_lags[2],
            unsent=len(session.payloads) - session.sent,
            compiled_reader=session.waiting.compiled is not None and not session.target.secure,
        )

    async def close(self) -> None:
        await self._session.close()


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (first, second)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the garbage collector from stopping the load; what a run allocates has no cycles."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
