"""One run of the measured path: read what has arrived, send what is due, until all has ended."""

import asyncio
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import perf_counter

from workloads.alarm import Alarm
from workloads.connection import Connection, Connector
from workloads.dispatch import Dispatch
from workloads.exchange import Exchange
from workloads.failure import ErrorClass
from workloads.payloads import Payloads
from workloads.poller import open_poller
from workloads.pool import Pool
from workloads.reading import Reader
from workloads.readlog import ReadLog
from workloads.replay import Replay
from workloads.target import Target
from workloads.waiting import Waiting

SENDS_A_POLL = 8
FEW_READS = 8
LONGEST_TURN_S = 0.002
LONGEST_WAIT_S = 0.05
"""Then the loop sees to its timers, which do not wake the reader."""
LOOP_ROUNDS = 3
"""What wakes the loop is often a task of several steps: let it make some before waiting again."""
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
        self.log = ReadLog()
        self.waiting = Waiting(self.loop, self.poller, self.turn)
        self.reader = Reader(self.pool, self.log, self.waiting, self, secure=target.secure)
        self.replay = Replay(self.log, finished=on_exchange, hopeless=self._hopeless)
        self.alarm = Alarm(self.loop, self.turn)
        self.finished = asyncio.Event()
        self.stopping = False
        self.start = 0.0
        self.sent = self.ended = self.reconnects = self.peak = 0
        self.busy_s = self.longest_turn_s = 0.0
        self.dispatch_lags_s = array("d")
        self._next_due = self.next_tick = inf
        self._relieving = False
        self._turning = False
        self.crash: BaseException | None = None
        """What went wrong in a callback, where nobody can catch it; `load` raises it."""

    def begin(self, start: float) -> None:
        """Let the requests go from the instant `start` on."""
        self.start = start
        self.waiting.begin()
        self._look_ahead()
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
        patient = self._patient
        if patient:
            self.waiting.hold()
        else:
            self.waiting.release()
        until = min(begin + LONGEST_WAIT_S, self.next_tick) if patient else begin + LONGEST_TURN_S
        if self._read_and_send(until, patient=patient):
            self.waiting.again(after=LOOP_ROUNDS if self.reader.woken else 0)
        self._turning = False
        spent_s = perf_counter() - begin - (self.waiting.waited_s - waited_s)
        self.busy_s += spent_s
        if spent_s > self.longest_turn_s:
            self.longest_turn_s = spent_s

    @property
    def _patient(self) -> bool:
        """Whether the reader may wait: whatever else is to be done, the loop would do it late."""
        elsewhere = self.pool.opening or self._relieving or self.finished.is_set()
        return not elsewhere and self.waiting.possible and not self.reader.careful

    def _read_and_send(self, until: float, *, patient: bool) -> bool:
        """Go on until the instant `until`, or nothing is left; return whether to come again."""
        while True:
            found = self.reader.read(until if patient and not self._due else 0.0)
            if len(self.log.now.datas) >= self.log.limit:
                self._keep_house()
            if self._due:
                self._send_some()
            elif not patient and found < FEW_READS:
                return False
            if patient and (self.reader.woken or not self._patient):
                return not self.finished.is_set()
            if perf_counter() > until:
                return True

    @property
    def _due(self) -> bool:
        return perf_counter() >= self._next_due

    def _send_some(self) -> None:
        """Send a few of the requests that are due: reading goes on between them."""
        asked = self.payloads.output_len
        for request, due_s in self.dispatcher.take(perf_counter() - self.start, SENDS_A_POLL):
            self._dispatch(Exchange(request, due_s, asked))
        self.peak = max(self.peak, self.dispatcher.in_flight)
        self._look_ahead()

    def _keep_house(self) -> None:
        """Hand a full log to the replay, and see to it that the replay keeps up."""
        self.log.seal()
        if self.replay.pressing and not self._relieving:
            self._relieving = True
            self.loop.call_soon(self._relieve)

    def _relieve(self) -> None:
        try:
            self.replay.relieve()
        except BaseException as error:
            self.fail(error)
            raise
        self._relieving = self.replay.pressing
        if self._relieving:
            self.loop.call_soon(self._relieve)

    def answered(self, connection: Connection, exchange: Exchange) -> None:
        """The answer is complete, or hopeless: free its slot and its connection."""
        direct = connection.direct
        broken = direct and exchange.decoder.failure is not None
        self.reader.release(connection)
        if connection.closing or broken or connection.unsent is not None:
            self.pool.drop(connection)
        else:
            self.pool.idle.append(connection)
        self._end(exchange, exchange.heard if direct else self.log.last_stamp)

    def _end(self, exchange: Exchange, now: float) -> None:
        exchange.done = now
        self.ended += 1
        self.log.ends(exchange)
        self.dispatcher.done(exchange.request, now - self.start)
        if self._next_due == inf:
            self._look_ahead()
        self._check_finished()

    def _check_finished(self) -> None:
        over = self.dispatcher.exhausted or self.stopping
        if over and self.dispatcher.in_flight == 0:
            self.finished.set()

    def closed(self, connection: Connection, exchange: Exchange) -> None:
        """The server has closed the connection under an answer, or as its end."""
        now = self.log.last_stamp
        self.log.forget_last()
        self.pool.drop(connection)
        if not self._again(connection, exchange):
            self.reader.release(connection)
            self._end(exchange, now)

    def lost(self, connection: Connection, error: OSError) -> None:
        self.pool.drop(connection)
        exchange = connection.exchange
        if exchange is None or self._again(connection, exchange):
            return
        self.reader.release(connection)
        exchange.fail("CONNECTION_LOST", str(error))
        self._end(exchange, perf_counter())

    def _again(self, connection: Connection, exchange: Exchange) -> bool:
        """Send once more if the server had closed a used connection before it saw the request."""
        unseen = exchange.fresh and connection.served > 0
        if not unseen or exchange.attempts >= MOST_ATTEMPTS or self.stopping:
            return False
        self.reader.release(connection)
        exchange.attempts += 1
        self.reconnects += 1
        self.pool.open_for(exchange)
        return True

    def _look_ahead(self) -> None:
        due_s = None if self.stopping else self.dispatcher.next_due_s()
        self._next_due = inf if due_s is None else self.start + due_s
        if due_s is None:
            return
        if self._next_due > perf_counter():
            self.alarm.set(self._next_due)
        elif not self._turning:
            self.loop.call_soon(self.turn)

    def _dispatch(self, exchange: Exchange) -> None:
        idle = self.pool.idle
        if idle:
            self._send(idle.pop(), exchange)
        else:
            self.pool.open_for(exchange)

    def _send(self, connection: Connection, exchange: Exchange) -> None:
        payload = self.payloads.take(exchange.request)
        connection.carry(exchange)
        self.log.begins(exchange)
        self.sent += exchange.attempts == 0
        exchange.sent = perf_counter()
        self.dispatch_lags_s.append(exchange.sent - self.start - exchange.due_s)
        try:
            sent = connection.send(payload)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.lost(connection, error)
            return
        if sent < len(payload):
            connection.unsent = memoryview(payload)[sent:]
            self.pool.watch_writes(connection, wanted=True)

    def _no_connection(self, exchange: Exchange, error: BaseException) -> None:
        interrupted = isinstance(error, asyncio.CancelledError)
        detail = str(error) or type(error).__name__
        exchange.fail("INTERRUPTED" if interrupted else "CONNECT", detail)
        self._end(exchange, perf_counter())

    def _hopeless(self, exchange: Exchange) -> None:
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
        reads = self.log.reads + len(self.log.now.datas)
        return Progress(self.sent, self.ended, self.dispatcher.in_flight, reads)

    async def close(self) -> None:
        self.waiting.end()
        self.alarm.close()
        await self.pool.close()
        self.poller.close()
