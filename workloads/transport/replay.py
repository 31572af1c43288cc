"""Replaying the trace: after the load if memory allows, in its pauses if not."""

from collections.abc import Callable
from time import perf_counter

from workloads.protocol.exchange import Exchange
from workloads.transport.spill import Spill
from workloads.transport.trace import ENDS, ReadTrace, TraceSegment

MEGABYTE = 1_000_000
REPLAY_BUDGET_BYTES = 32 * MEGABYTE
SLICE_S = 100e-6
LARGEST_POWER = 3
ENTRIES_PER_GLANCE = 64
TAKEN_BUDGET_BYTES = 16 * MEGABYTE
"""Of reads that all answers under way have taken together before they are decoded."""
LEAST_TAKEN_BYTES = 2_000
MANY_READS = 256


class Replay:
    """Gives each read to its exchange, and decodes an exchange when it has ended or grown long.

    Up to `budget_bytes` nothing is replayed while the load runs. Beyond it a slice of 0.1 ms
    is between two turns, and what is not replayed soon goes to disk (see `spill`), so memory is
    flat. Where that cannot be, for want of a disk or room, slices are ten times as long from twice,
    four and six times the budget on: at last replaying has nearly all the time, and servers are
    made to wait. Answers that are long or many are decoded piece by piece, so that they hold few
    reads.
    """

    def __init__(
        self,
        trace: ReadTrace,
        *,
        finished: Callable[[Exchange], None],
        doomed: Callable[[Exchange], None],
        budget_bytes: int = REPLAY_BUDGET_BYTES,
    ) -> None:
        self._trace, self._spill = trace, Spill(trace)
        self._finished, self._doomed = finished, doomed
        self._budget_bytes = budget_bytes
        self._current: dict[int, Exchange] = {}
        self._mark = 0
        self.decode_s = 0.0

    @property
    def behind(self) -> bool:
        return self._trace.held_bytes + self._trace.spilled_bytes > self._budget_bytes

    def catch_up(self) -> None:
        """Replay for as long as the bytes in memory call for, and make them fewer."""
        self._spill.step()
        fullness = self._trace.held_bytes / self._budget_bytes
        self.replay_for(SLICE_S * 10 ** min(LARGEST_POWER, int(fullness / 2)))

    def replay_for(self, seconds: float) -> bool:
        """Replay sealed segments until the time is up; return whether any are left."""
        begin = perf_counter()
        until = begin + seconds
        sealed = self._trace.sealed
        while sealed and perf_counter() < until:
            if self._replay(sealed[0], until):
                sealed.popleft().close()
                self._trace.replayed = self._mark = 0
        self.decode_s += perf_counter() - begin
        return bool(sealed)

    def _replay(self, segment: TraceSegment, until: float) -> bool:
        """Replay a segment no longer than `until`; return whether all of it is replayed."""
        marks, count = segment.marks, len(segment)
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
        span, current, dealt = slice(self._trace.replayed, stop), self._current, 0
        datas = segment.read(self._trace.replayed, stop)
        self._trace.replayed = stop
        most_bytes = max(LEAST_TAKEN_BYTES, TAKEN_BUDGET_BYTES // (len(current) or 1))
        for fd, data, stamp in zip(segment.fds[span], datas, segment.stamps[span], strict=True):
            dealt += len(data)
            exchange = current.get(fd)
            if exchange is not None:
                exchange.take(data, stamp)
                if exchange.taken_bytes > most_bytes or len(exchange.reads) >= MANY_READS:
                    self._decode(exchange)
        self._trace.less(segment, dealt)

    def close(self) -> None:
        """Let go of what lies on disk."""
        self._spill.close()

    def _decode(self, exchange: Exchange) -> None:
        exchange.decode()
        if exchange.decoder.failure is not None and exchange.done is None:
            self._doomed(exchange)

    def _end(self, exchange: Exchange) -> None:
        if self._current.get(exchange.fd) is exchange:
            del self._current[exchange.fd]
        exchange.end()
        self._finished(exchange)
