"""What a client does now and then: notice its own delays and time-outs, prepare, report."""

import asyncio
from array import array
from collections.abc import Callable
from math import inf
from time import perf_counter

from workloads.client.progress import Progress
from workloads.client.session import LoadSession
from workloads.transport.connection import Connection

TICK_S = 0.05
TICKS_PER_REPORT = 2
TICKS_PER_SWEEP = 10
PREPARE_S = 500e-6
SUSPICIOUS_S = 1.0
"""After this silence an answer is looked into: it may be damaged, with nothing more to come."""
SUSPECTS_PER_SWEEP = 4


class Housekeeper:
    """Ticks beside a session, from `begin` to `end`."""

    def __init__(
        self, session: LoadSession, on_progress: Callable[[Progress], None] | None
    ) -> None:
        self._session, self._on_progress = session, on_progress
        self._handle: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._expected = 0.0
        self.lags_s = array("d")

    def begin(self) -> None:
        self._expected = self._session.next_tick = perf_counter() + TICK_S
        self._handle = self._session.loop.call_later(TICK_S, self._tick)

    def end(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._session.next_tick = inf
        self._report()

    def _tick(self) -> None:
        self.lags_s.append(max(0.0, perf_counter() - self._expected))
        self._ticks += 1
        self._session.payloads.prepare(PREPARE_S)
        if self._ticks % TICKS_PER_REPORT == 0:
            self._report()
        if self._ticks % TICKS_PER_SWEEP == 0:
            self._sweep()
        self._open_more()
        self.begin()

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._session.progress())

    def _open_more(self) -> None:
        """Keep some connections open beyond those in use, as many as may become due."""
        session, dispatcher = self._session, self._session.dispatcher
        if dispatcher.exhausted or session.stopping:
            return
        wanted = min(dispatcher.slots, dispatcher.in_flight + dispatcher.standby)
        session.pool.replenish(min(wanted, len(session.pool.table) + dispatcher.standby))

    def _sweep(self) -> None:
        """Give up on answers that are silent or under way for too long."""
        session, target, now = self._session, self._session.target, perf_counter()
        session.trace.update_last_reads()
        suspects: list[Connection] = []
        for connection in list(session.pool.table.values()):
            exchange = connection.exchange
            if exchange is None or exchange.sent is None:
                continue
            last_read_at = max(exchange.last_read_at, session.trace.last_read(connection.fd))
            silence_s = now - max(exchange.sent, last_read_at)
            age_s = now - exchange.sent
            if silence_s > SUSPICIOUS_S and not exchange.fresh:
                suspects.append(connection)
            if silence_s > target.idle_timeout_s:
                session.give_up(connection, "TIMEOUT", f"nothing for {silence_s:.1f} s")
            elif age_s > target.request_timeout_s:
                session.give_up(connection, "TIMEOUT", f"not complete after {age_s:.1f} s")
        self._look_into(suspects)

    def _look_into(self, silent: list[Connection]) -> None:
        """Decode some of the silent answers, and end those whose stream is over."""
        decoded = 0
        for connection in silent:
            exchange = connection.exchange
            if exchange is None:
                continue
            if not connection.decodes_inline and decoded < SUSPECTS_PER_SWEEP:
                decoded += 1
                self._session.reader.decode_now(connection, exchange)
            if connection.exchange is exchange and exchange.decoder.said_done:
                self._session.left_open(connection, exchange)
