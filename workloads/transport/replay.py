"""Replaying the trace: after the load if memory allows, in its pauses if not."""

from collections.abc import Callable
from time import perf_counter

from workloads.protocol.exchange import Exchange
from workloads.transport.trace import ENDS, ReadTrace, TraceSegment

MEGABYTE = 1_000_000
REPLAY_BUDGET_BYTES = 32 * MEGABYTE
SLICE_S = 100e-6
LARGEST_POWER = 3
ENTRIES_PER_GLANCE = 64
MANY_READS = 256


class Replay:
    """Gives each read to its exchange, and decodes an exchange when it has ended or grown long.

    Up to `budget_bytes` nothing is replayed while the load runs. Beyond it a slice of 0.1 ms
    is between two turns, ten times as long from twice, four and six times that on: at last
    replaying has nearly all the time, servers are made to wait, and memory stays bounded.
    """

    def __init__(
        self,
        trace: ReadTrace,
        *,
        finished: Callable[[Exchange], None],
        doomed: Callable[[Exchange], None],
        budget_bytes: int = REPLAY_BUDGET_BYTES,
    ) -> None:
        self._trace = trace
        self._finished, self._doomed = finished, doomed
        self._budget_bytes = budget_bytes
        self._current: dict[int, Exchange] = {}
        self._mark = 0
        self.decode_s = 0.0

    @property
    def behind(self) -> bool:
        return self._trace.held_bytes > self._budget_bytes

    def catch_up(self) -> None:
        """Replay for as long as the bytes held call for."""
        fullness = self._trace.held_bytes / self._budget_bytes
        self.replay_for(SLICE_S * 10 ** min(LARGEST_POWER, int(fullness / 2)))

    def replay_for(self, seconds: float) -> bool:
        """Replay sealed segments until the time is up; return whether any are left."""
        begin = perf_counter()
        until = begin + seconds
        sealed = self._trace.sealed
        while sealed and perf_counter() < until:
            if self._replay(sealed[0], until):
                sealed.popleft()
                self._trace.replayed = self._mark = 0
        self.decode_s += perf_counter() - begin
        return bool(sealed)

    def _replay(self, segment: TraceSegment, until: float) -> bool:
        """Replay a segment no longer than `until`; return whether all of it is replayed."""
        marks, count = segment.marks, len(segment.datas)
        while perf_counter() < until:
            while self._mark < len(marks) and marks[self._mark][0] <= self._trace.replayed:
                _, exchange, fd = marks[self._mark]
                self._mark += 1
                if fd == ENDS:
                    self._end(exchange)
                else:
                    self._current[fd] = exchange
            if self._trace.replayed == count:
                return True
            stop = marks[self._mark][0] if self._mark < len(marks) else count
            self._deal(segment, min(stop, self._trace.replayed + ENTRIES_PER_GLANCE))
        return False

    def _deal(self, segment: TraceSegment, stop: int) -> None:
        """Give the entries up to `stop` to their exchanges."""
        span = slice(self._trace.replayed, stop)
        self._trace.replayed = stop
        current, held_bytes = self._current, self._trace.held_bytes
        for fd, data, stamp in zip(
            segment.fds[span], segment.datas[span], segment.stamps[span], strict=True
        ):
            held_bytes -= len(data)
            exchange = current.get(fd)
            if exchange is not None:
                exchange.take(data, stamp)
                if len(exchange.reads) >= MANY_READS:
                    self._decode(exchange)
        self._trace.held_bytes = held_bytes

    def _decode(self, exchange: Exchange) -> None:
        exchange.decode()
        if exchange.decoder.failure is not None and exchange.done is None:
            self._doomed(exchange)

    def _end(self, exchange: Exchange) -> None:
        if self._current.get(exchange.fd) is exchange:
            del self._current[exchange.fd]
        exchange.end()
        self._finished(exchange)
