"""Answers that wait to be decoded: after the load if memory allows, in its pauses if not."""

from collections import deque
from collections.abc import Callable
from time import perf_counter

from workloads.exchange import Exchange

MEGABYTE = 1_000_000
COMFORTABLE_BYTES = 64 * MEGABYTE
SLICE_S = 100e-6


class Backlog:
    """Finished exchanges in order, and the bytes they hold.

    Up to `comfortable_bytes` nothing is decoded while the load runs. Beyond it a slice of 0.1 ms
    is decoded whenever the loop has nothing to read, ten times as much from twice that on, and
    from four times that on decoding comes before reading: memory stays bounded.
    """

    def __init__(
        self,
        finish: Callable[[Exchange], None],
        *,
        comfortable_bytes: int = COMFORTABLE_BYTES,
    ) -> None:
        self._finish = finish
        self._comfortable_bytes = comfortable_bytes
        self._waiting: deque[tuple[Exchange, int]] = deque()
        self.held_bytes = 0
        self.decode_s = 0.0

    @property
    def pressing(self) -> bool:
        return self.held_bytes > self._comfortable_bytes

    def add(self, exchange: Exchange) -> None:
        held = exchange.held_bytes
        self._waiting.append((exchange, held))
        self.held_bytes += held

    def relieve(self) -> None:
        """Decode for as long as the bytes held call for."""
        fullness = self.held_bytes / self._comfortable_bytes
        if fullness < 4:
            self.decode_for(SLICE_S if fullness < 2 else 10 * SLICE_S)
            return
        while self.held_bytes > 2 * self._comfortable_bytes:
            self.decode_for(10 * SLICE_S)

    def decode_for(self, seconds: float) -> bool:
        """Decode until the time is up; return whether anything is left."""
        begin = perf_counter()
        until = begin + seconds
        while self._waiting and perf_counter() < until:
            exchange, held = self._waiting[0]
            if not exchange.decode(until):
                break
            self._waiting.popleft()
            self.held_bytes -= held
            exchange.end()
            self._finish(exchange)
        self.decode_s += perf_counter() - begin
        return bool(self._waiting)
