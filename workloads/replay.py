"""Replaying the log: after the load if memory allows, in its pauses if not."""

from collections.abc import Callable
from time import perf_counter

from workloads.exchange import Exchange
from workloads.readlog import ENDS, ReadLog, Segment

MEGABYTE = 1_000_000
COMFORTABLE_BYTES = 32 * MEGABYTE
SLICE_S = 100e-6
LARGEST_POWER = 3
ENTRIES_A_GLANCE = 64
MANY_READS = 256


class Replay:
    """Gives each read to its exchange, and decodes an exchange when it has ended or grown long.

    Up to `comfortable_bytes` nothing is replayed while the load runs. Beyond it a slice of 0.1 ms
    is between two turns, ten times as long from twice, four and six times that on: at last
    replaying has nearly all the time, servers are made to wait, and memory stays bounded.
    """

    def __init__(
        self,
        log: ReadLog,
        *,
        finished: Callable[[Exchange], None],
        hopeless: Callable[[Exchange], None],
        comfortable_bytes: int = COMFORTABLE_BYTES,
    ) -> None:
        self._log = log
        self._finished, self._hopeless = finished, hopeless
        self._comfortable_bytes = comfortable_bytes
        self._current: dict[int, Exchange] = {}
        self._mark = 0
        self.decode_s = 0.0

    @property
    def pressing(self) -> bool:
        return self._log.held_bytes > self._comfortable_bytes

    def relieve(self) -> None:
        """Replay for as long as the bytes held call for."""
        fullness = self._log.held_bytes / self._comfortable_bytes
        self.replay_for(SLICE_S * 10 ** min(LARGEST_POWER, int(fullness / 2)))

    def replay_for(self, seconds: float) -> bool:
        """Replay sealed segments until the time is up; return whether any are left."""
        begin = perf_counter()
        until = begin + seconds
        sealed = self._log.sealed
        while sealed and perf_counter() < until:
            if self._replay(sealed[0], until):
                sealed.popleft()
                self._log.replayed = self._mark = 0
        self.decode_s += perf_counter() - begin
        return bool(sealed)

    def _replay(self, segment: Segment, until: float) -> bool:
        """Replay a segment no longer than `until`; return whether all of it is replayed."""
        marks, count = segment.marks, len(segment.datas)
        while perf_counter() < until:
            while self._mark < len(marks) and marks[self._mark][0] <= self._log.replayed:
                _, exchange, fd = marks[self._mark]
                self._mark += 1
                if fd == ENDS:
                    self._end(exchange)
                else:
                    self._current[fd] = exchange
            if self._log.replayed == count:
                return True
            stop = marks[self._mark][0] if self._mark < len(marks) else count
            self._deal(segment, min(stop, self._log.replayed + ENTRIES_A_GLANCE))
        return False

    def _deal(self, segment: Segment, stop: int) -> None:
        """Give the entries up to `stop` to their exchanges."""
        span = slice(self._log.replayed, stop)
        self._log.replayed = stop
        current, held = self._current, self._log.held_bytes
        for fd, data, stamp in zip(
            segment.fds[span], segment.datas[span], segment.stamps[span], strict=True
        ):
            held -= len(data)
            exchange = current.get(fd)
            if exchange is not None:
                exchange.take(data, stamp)
                if len(exchange.reads) >= MANY_READS:
                    self._decode(exchange)
        self._log.held_bytes = held

    def _decode(self, exchange: Exchange) -> None:
        exchange.decode()
        if exchange.decoder.failure is not None and exchange.done is None:
            self._hopeless(exchange)

    def _end(self, exchange: Exchange) -> None:
        if self._current.get(exchange.fd) is exchange:
            del self._current[exchange.fd]
        exchange.end()
        self._finished(exchange)
