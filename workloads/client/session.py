"""One run of the measured path: read what has arrived, send what is due, until all has ended."""

import asyncio
from array import array
from collections.abc import Callable
from math import inf
from time import perf_counter

from workloads.client.payloads import Payloads
from workloads.client.progress import Progress
from workloads.load.dispatch import Dispatch
from workloads.protocol.exchange import Exchange
from workloads.protocol.failure import ErrorClass
from workloads.transport.alarm import Alarm
from workloads.transport.connection import Connection, Connector
from workloads.transport.poller import open_poller
from workloads.transport.pool import ConnectionPool
from workloads.transport.reader import Reader
from workloads.transport.replay import Replay
from workloads.transport.sender import failure, sender
from workloads.transport.socket_waiter import SocketWaiter
from workloads.transport.target import Target
from workloads.transport.trace import ReadTrace

SENDS_PER_POLL = 32
"""Sent at once: reading goes on between them."""
FEW_READS = 8
LONGEST_TURN_S = 0.002
LONGEST_WAIT_S = 0.05
"""Then the loop sees to its timers, which do not wake the reader."""
LOOP_ROUNDS = 3
"""What wakes the loop is often a task of several steps: let it make some before waiting again."""
MOST_ATTEMPTS = 2


class LoadSession:
    """Reads, sends and accounts for one run; `finished` is set when nothing is left in flight."""

    def __init__(
        self,
        target: Target,
        payloads: Payloads,
        dispatcher: Dispatch,
        on_exchange: Callable[[Exchange], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.target, self.payloads, self.dispatcher = target, payloads, dispatcher
        self.poller = open_poller()
        self.pool = ConnectionPool(
            Connector(target, self.loop),
            self.poller,
            ready=self._send_opened,
            failed=self._no_connection,
        )
        self.trace = ReadTrace()
        self._send_all = sender(secure=target.secure)
        self.waiting = SocketWaiter(self.loop, self.poller, self.turn)
        self.reader = Reader(self.pool, self.trace, self.waiting, self, target)
        self.replay = Replay(self.trace, finished=on_exchange, doomed=self._doomed)
        self.alarm = Alarm(self.loop, self.turn)
        self.finished = asyncio.Event()
        self.stopping = False
        self.start = 0.0
        self.sent = self.ended = self.reconnects = self.peak = 0
        self.busy_s = self.longest_turn_s = 0.0
        self.dispatch_lags_s = array("d")
        self._next_due = self.next_tick = inf
        self._catching_up = False
        self._turning = False
        self.crash: BaseException | None = None
        """What went wrong in a callback, where nobody can catch it; `load` raises it."""

    def begin(self, start: float) -> None:
        """Let the requests go from the instant `start` on."""
        self.start = start
        self.waiting.begin()
        self._schedule_next()
        self._check_finished()
        self.turn()

    def turn(self) -> None:
        """Read whatever has arrived, then send what is due, until there is neither."""
        try:
            self._turn()
        except BaseException as error:
            self.fail(error)
            raise

    def fail(self, error: BaseException) -> None:
        """End the run: something went wrong that is not a request's own failure."""
        self.crash = error
        self.finished.set()

    def _turn(self) -> None:
        begin, waited_s = perf_counter(), self.waiting.waited_s
        self._turning = True
        blocking = self._may_block
        if blocking:
            self.waiting.hold()
        else:
            self.waiting.release()
        until = min(begin + LONGEST_WAIT_S, self.next_tick) if blocking else begin + LONGEST_TURN_S
        if self._read_and_send(until, blocking=blocking):
            self.waiting.again(after=LOOP_ROUNDS if self.reader.woken else 0)
        self._turning = False
        spent_s = perf_counter() - begin - (self.waiting.waited_s - waited_s)
        self.busy_s += spent_s
        if spent_s > self.longest_turn_s:
            self.longest_turn_s = spent_s

    @property
    def _may_block(self) -> bool:
        """Whether the reader may wait: whatever else is to be done, the loop would do it late."""
        elsewhere = self.pool.opening or self._catching_up or self.finished.is_set()
        return not elsewhere and self.waiting.possible and not self.reader.checks_every_read

    def _read_and_send(self, until: float, *, blocking: bool) -> bool:
        """Go on until the instant `until`, or nothing is left; return whether to come again."""
        while True:
            found = self.reader.read(until if blocking and not self._due else 0.0)
            if len(self.trace.current.datas) >= self.trace.limit:
                self._seal_full_segment()
            if self._due:
                self._send_some()
            elif not blocking and found < FEW_READS:
                return False
            if blocking and (self.reader.woken or not self._may_block):
                return not self.finished.is_set()
            if perf_counter() > until:
                return True

    @property
    def _due(self) -> bool:
        return perf_counter() >= self._next_due

    def _send_some(self) -> None:
        """Send a few of the requests that are due, on idle connections as far as there are."""
        output_lens, idle = self.payloads.output_lens, self.pool.idle
        taken = self.dispatcher.take(perf_counter() - self.start, SENDS_PER_POLL)
        exchanges = [Exchange(request, due_s, output_lens[request]) for request, due_s in taken]
        connections = [idle.pop() for _ in exchanges[: len(idle)]]
        self._send(connections, exchanges[: len(connections)])
        for exchange in exchanges[len(connections) :]:
            self.pool.open_for(exchange)
        self.peak = max(self.peak, self.dispatcher.in_flight)
        self._schedule_next()

    def _seal_full_segment(self) -> None:
        """Hand a full segment to the replay, and see to it that the replay keeps up."""
        self.trace.seal()
        if self.replay.behind and not self._catching_up:
            self._catching_up = True
            self.loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        try:
            self.replay.catch_up()
        except BaseException as error:
            self.fail(error)
            raise
        self._catching_up = self.replay.behind
        if self._catching_up:
            self.loop.call_soon(self._catch_up)

    def answered(self, connection: Connection, exchange: Exchange) -> None:
        """The answer is complete, or sure to fail: free its slot and its connection."""
        inline = connection.decodes_inline
        broken = inline and exchange.decoder.failure is not None
        self.reader.release(connection)
        if connection.closing or broken or connection.unsent is not None:
            self.pool.drop(connection)
        else:
            self.pool.idle.append(connection)
        self._end(exchange, exchange.last_read_at if inline else self.trace.last_stamp)

    def _end(self, exchange: Exchange, now: float, *, freed: float | None = None) -> None:
        exchange.done = now
        self.ended += 1
        self.trace.mark_end(exchange)
        self.dispatcher.done(exchange.request, (freed or now) - self.start)
        if self._next_due == inf or self.dispatcher.has_turns:
            self._schedule_next()
        self._check_finished()

    def _check_finished(self) -> None:
        over = self.dispatcher.exhausted or self.stopping
        if over and self.dispatcher.in_flight == 0:
            self.finished.set()

    def left_open(self, connection: Connection, exchange: Exchange) -> None:
        self.reader.ends_at_done = True
        exchange.leave_open()
        self.reader.release(connection)
        self.pool.drop(connection)
        self._end(exchange, exchange.last_read_at, freed=perf_counter())

    def closed(self, connection: Connection, exchange: Exchange) -> None:
        """The server has closed the connection under an answer, or as its end."""
        now = self.trace.last_stamp
        self.trace.drop_last()
        self.pool.drop(connection)
        if not self._retry(connection, exchange):
            self.reader.release(connection)
            self._end(exchange, now)

    def lost(self, connection: Connection, error: OSError) -> None:
        self.pool.drop(connection)
        exchange = connection.exchange
        if exchange is None or self._retry(connection, exchange):
            return
        self.reader.release(connection)
        exchange.fail("CONNECTION_LOST", str(error))
        self._end(exchange, perf_counter())

    def _retry(self, connection: Connection, exchange: Exchange) -> bool:
        """Send once more if the server had closed a used connection before it saw the request."""
        unseen = exchange.fresh and connection.served > 0
        if not unseen or exchange.attempts >= MOST_ATTEMPTS or self.stopping:
            return False
        self.reader.release(connection)
        exchange.attempts += 1
        self.reconnects += 1
        self.pool.open_for(exchange)
        return True

    def _schedule_next(self) -> None:
        due_s = None if self.stopping else self.dispatcher.next_due_s()
        self._next_due = inf if due_s is None else self.start + due_s
        if due_s is None:
            return
        if self._next_due > perf_counter():
            self.alarm.set(self._next_due)
        elif not self._turning:
            self.loop.call_soon(self.turn)

    def _send_opened(self, connection: Connection, exchange: Exchange) -> None:
        self._send([connection], [exchange])

    def _send(self, connections: list[Connection], exchanges: list[Exchange]) -> None:
        payloads = [self.payloads.take(exchange.request) for exchange in exchanges]
        stamps, shorts = self._send_all(connections, payloads)
        for connection, exchange, stamp in zip(connections, exchanges, stamps, strict=True):
            connection.assign(exchange)
            self.trace.mark_begin(exchange)
            self.sent += exchange.attempts == 0
            exchange.sent = stamp
            self.dispatch_lags_s.append(stamp - self.start - exchange.due_s)
        for index, sent in shorts:
            self._send_rest(connections[index], payloads[index], sent)

    def _send_rest(self, connection: Connection, payload: bytes, sent: int) -> None:
        """See to a request that did not go out whole."""
        error = failure(sent)
        if error is not None:
            self.lost(connection, error)
        else:
            connection.unsent = memoryview(payload)[max(sent, 0) :]
            self.pool.watch_writes(connection, wanted=True)

    def _no_connection(self, exchange: Exchange, error: BaseException) -> None:
        interrupted = isinstance(error, asyncio.CancelledError)
        detail = str(error) or type(error).__name__
        exchange.fail("INTERRUPTED" if interrupted else "CONNECT", detail)
        self._end(exchange, perf_counter())

    def _doomed(self, exchange: Exchange) -> None:
        """The replay has found an answer under way that can only fail."""
        connection = self.pool.table.get(exchange.fd)
        if connection is not None and connection.exchange is exchange:
            self.give_up(connection, "STREAM_ERROR", "")

    def give_up(self, connection: Connection, error_class: ErrorClass, detail: str) -> None:
        """End the exchange of a connection, if any, and the connection with it."""
        exchange = connection.exchange
        self.pool.drop(connection)
        if exchange is None:
            return
        self.reader.release(connection)
        exchange.fail(error_class, detail)
        self._end(exchange, perf_counter())

    def stop(self) -> None:
        """Send nothing more."""
        self.stopping = True
        self._next_due = inf
        self._check_finished()

    def progress(self) -> Progress:
        reads = self.trace.reads + len(self.trace.current.datas)
        return Progress(self.sent, self.ended, self.dispatcher.in_flight, reads)

    async def close(self) -> None:
        self.waiting.end()
        self.alarm.close()
        self.replay.close()
        await self.pool.close()
        self.poller.close()
