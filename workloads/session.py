"""One run of the measured path: its turns, its sends, its end."""

import asyncio
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import perf_counter

from workloads.alarm import Alarm
from workloads.backlog import Backlog
from workloads.connection import READ_BYTES, Connection, Connector
from workloads.dispatch import Dispatch
from workloads.exchange import Exchange
from workloads.failure import ErrorClass
from workloads.payloads import Payloads
from workloads.poller import READ, WRITE, open_poller
from workloads.pool import Pool
from workloads.target import Target

DONE_END = b"data: [DONE]\n\n\r\n0\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
BLANK_LINE = b"\r\n\r\n"
SHORTEST_SURE = len(LAST_CHUNK)
"""A read of this many bytes cannot hide part of the last chunk's end in the read before it."""
HEAD_BYTES = 4_096
EVENTS_A_POLL = 512
SENDS_A_POLL = 8
LONGEST_TURN_S = 0.002
MOST_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; reads are about one a token."""

    sent: int
    ended: int
    in_flight: int
    reads: int


class Session:
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
        self.pool = Pool(
            Connector(target, self.loop), self.poller, ready=self._send, failed=self._no_connection
        )
        self.backlog = Backlog(on_exchange)
        self.alarm = Alarm(self.loop, self.turn)
        self.finished = asyncio.Event()
        self.stopping = False
        self.start = 0.0
        self.reads = self.sent = self.ended = self.reconnects = self.peak = 0
        self.busy_s = self.longest_turn_s = 0.0
        self.dispatch_lags_s = array("d")
        self._outbox: deque[Exchange] = deque()
        self._next_due = inf
        self._relieving = False

    def begin(self, start: float) -> None:
        """Let the requests go from the instant `start` on."""
        self.start = start
        self.loop.add_reader(self.poller.fileno(), self.turn)
        self._look_ahead()
        self.turn()

    def turn(self) -> None:
        """Read whatever has arrived, then send what is due, until there is neither."""
        begin = perf_counter()
        while True:
            ready = self.poller.poll(0, EVENTS_A_POLL)
            if ready:
                self._read(ready)
            if perf_counter() >= self._next_due:
                self._take_due()
            for _ in range(min(SENDS_A_POLL, len(self._outbox))):
                self._dispatch(self._outbox.popleft())
            if not self._outbox and len(ready) < SENDS_A_POLL:
                break
            if perf_counter() - begin > LONGEST_TURN_S:
                self.loop.call_soon(self.turn)
                break
        spent_s = perf_counter() - begin
        self.busy_s += spent_s
        self.longest_turn_s = max(self.longest_turn_s, spent_s)

    def _read(self, ready: list[tuple[int, int]]) -> None:
        table, clock, end = self.pool.table, perf_counter, BLANK_LINE
        for fd, mask in ready:
            connection = table[fd]
            if mask != READ:
                self._unusual(connection, mask)
            try:
                data = connection.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                self._lost(connection, error)
                continue
            now = clock()
            connection.stamp(now)
            connection.keep(data)
            if (
                not SHORTEST_SURE <= len(data) < READ_BYTES
                or connection.exact
                or data.endswith(end)
            ):
                self._look(connection, data, now)
        self.reads += len(ready)

    def _unusual(self, connection: Connection, mask: int) -> None:
        """Go on with a request that did not fit into the socket's buffer in one piece."""
        if not mask & WRITE or connection.unsent is None:
            return
        try:
            sent = connection.send(connection.unsent)
        except OSError:
            return
        rest = connection.unsent[sent:]
        connection.unsent = rest if len(rest) else None
        if connection.unsent is None:
            self.pool.watch_writes(connection, wanted=False)

    def _look(self, connection: Connection, data: bytes, now: float) -> None:
        """Find out whether the answer is complete, as cheaply as its form allows."""
        exchange = connection.exchange
        if exchange is None:
            self.pool.drop(connection)
        elif not data:
            self._closed(connection, exchange, now)
        elif self._first_read(connection, exchange, data) or data.endswith(DONE_END):
            if data.endswith(DONE_END):
                self._finish(connection, exchange, now)
        elif connection.exact or len(data) < READ_BYTES or exchange.has_much():
            self.decode_now(connection, exchange, now)

    def _first_read(self, connection: Connection, exchange: Exchange, data: bytes) -> bool:
        """On an answer's first read choose how to look at the others; False: decode this one."""
        if not exchange.fresh:
            return False
        exchange.fresh = False
        head = data[:HEAD_BYTES].lower()
        connection.closing = b"\r\nconnection: close" in head
        connection.exact = not (
            head.startswith(b"http/1.1 200")
            and b"\r\ntransfer-encoding: chunked\r\n" in head
            and b"\r\n\r\n" in head
        )
        return not connection.exact and not data.endswith(LAST_CHUNK)

    def decode_now(self, connection: Connection, exchange: Exchange, now: float) -> None:
        exchange.decode()
        if exchange.decoder.complete:
            self._finish(connection, exchange, now)

    def _finish(self, connection: Connection, exchange: Exchange, now: float) -> None:
        """The answer is complete, or hopeless: free its slot and its connection."""
        connection.release()
        if connection.closing or exchange.decoder.failure is not None or connection.unsent:
            self.pool.drop(connection)
        else:
            self.pool.idle.append(connection)
        self._end(exchange, now)

    def _end(self, exchange: Exchange, now: float) -> None:
        exchange.done = now
        self.ended += 1
        self.dispatcher.done(exchange.request, now - self.start)
        if self._next_due == inf:
            self._look_ahead()
        self.backlog.add(exchange)
        if self.backlog.pressing and not self._relieving:
            self._relieving = True
            self.loop.call_soon(self._relieve)
        self._check_finished()

    def _relieve(self) -> None:
        self.backlog.relieve()
        self._relieving = self.backlog.pressing
        if self._relieving:
            self.loop.call_soon(self._relieve)

    def _check_finished(self) -> None:
        over = self.dispatcher.exhausted or self.stopping
        if over and self.dispatcher.in_flight == 0:
            self.finished.set()

    def _closed(self, connection: Connection, exchange: Exchange, now: float) -> None:
        """The server has closed the connection under an answer, or as its end."""
        del exchange.reads[-1], exchange.stamps[-1]
        self.pool.drop(connection)
        if self._again(connection, exchange):
            return
        connection.release()
        exchange.end()
        self._end(exchange, now)

    def _lost(self, connection: Connection, error: OSError) -> None:
        now = perf_counter()
        self.pool.drop(connection)
        exchange = connection.exchange
        if exchange is None or self._again(connection, exchange):
            return
        connection.release()
        exchange.decode()
        answered = exchange.decoder.body.started
        exchange.decoder.abort("STREAM_TRUNCATED" if answered else "CONNECTION_LOST", str(error))
        self._end(exchange, now)

    def _again(self, connection: Connection, exchange: Exchange) -> bool:
        """Send once more if the server had closed a used connection before it saw the request."""
        unseen = exchange.fresh and connection.served > 0
        if not unseen or exchange.attempts >= MOST_ATTEMPTS or self.stopping:
            return False
        connection.release()
        exchange.attempts += 1
        self.reconnects += 1
        self.pool.open_for(exchange)
        return True

    def _take_due(self) -> None:
        """Move what is due to the outbox and set the alarm for what is due next."""
        for request, due_s in self.dispatcher.take(perf_counter() - self.start):
            self._outbox.append(self._exchange(request, due_s))
        self.peak = max(self.peak, self.dispatcher.in_flight)
        self._look_ahead()

    def _look_ahead(self) -> None:
        due_s = None if self.stopping else self.dispatcher.next_due_s()
        self._next_due = inf if due_s is None else self.start + due_s
        if self._next_due > perf_counter() and due_s is not None:
            self.alarm.set(self._next_due)

    def _exchange(self, request: int, due_s: float) -> Exchange:
        return Exchange(
            request,
            due_s,
            asked=self.payloads.output_len,
            input_tokens=self.payloads.input_tokens(request),
        )

    def _dispatch(self, exchange: Exchange) -> None:
        idle = self.pool.idle
        if idle:
            self._send(idle.pop(), exchange)
        else:
            self.pool.open_for(exchange)

    def _send(self, connection: Connection, exchange: Exchange) -> None:
        payload = self.payloads.take(exchange.request)
        connection.carry(exchange)
        if exchange.attempts == 0:
            self.sent += 1
        exchange.sent = perf_counter()
        try:
            sent = connection.send(payload)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lost(connection, error)
            return
        if sent < len(payload):
            connection.unsent = memoryview(payload)[sent:]
            self.pool.watch_writes(connection, wanted=True)
        self.dispatch_lags_s.append(exchange.sent - self.start - exchange.due_s)

    def _no_connection(self, exchange: Exchange, error: BaseException) -> None:
        interrupted = isinstance(error, asyncio.CancelledError)
        error_class: ErrorClass = "INTERRUPTED" if interrupted else "CONNECT"
        exchange.decoder.abort(error_class, str(error) or type(error).__name__)
        self._end(exchange, perf_counter())

    def stop(self) -> None:
        """Send nothing more; what was due and not yet sent ends here."""
        self.stopping = True
        self._next_due = inf
        while self._outbox:
            exchange = self._outbox.popleft()
            exchange.decoder.abort("INTERRUPTED", "the run was stopped before the request was sent")
            self._end(exchange, perf_counter())
        self._check_finished()

    def abort(self, connection: Connection, error_class: ErrorClass, detail: str) -> None:
        """Give up on the exchange of a connection."""
        exchange = connection.exchange
        self.pool.drop(connection)
        if exchange is None:
            return
        connection.release()
        exchange.decode()
        exchange.decoder.abort(error_class, detail)
        self._end(exchange, perf_counter())

    def progress(self) -> Progress:
        return Progress(self.sent, self.ended, self.dispatcher.in_flight, self.reads)

    async def close(self) -> None:
        self.loop.remove_reader(self.poller.fileno())
        self.alarm.close()
        await self.pool.close()
        self.poller.close()
