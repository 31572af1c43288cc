"""One queue of requests for several processes: a pipe of request numbers."""

import asyncio
import fcntl
import heapq
import os
from collections import deque
from collections.abc import Iterable, Sequence

from workloads.load.dispatch import standby_of
from workloads.load.turns import Turns

NUMBER_BYTES = 4
LARGE_PIPE_BYTES = 1 << 20
RETRY_S = 0.001


class SharedQueue:
    """Feeds request numbers to whoever reads the other end; each number is read once.

    Reads and writes of whole numbers are not torn: a pipe moves up to 4096 bytes at once.
    """

    def __init__(self, requests: Iterable[int]) -> None:
        self._numbers = memoryview(b"".join(map(_bytes, requests)))
        self.read_fd, self._write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        os.set_blocking(self._write_fd, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self._write_fd, fcntl.F_SETPIPE_SZ, LARGE_PIPE_BYTES)
        self._loop = asyncio.get_running_loop()
        self._loop.add_writer(self._write_fd, self._feed)
        self._feed()

    def _feed(self) -> None:
        """Fill the pipe; its end is closed behind the last number."""
        while self._numbers:
            try:
                written = os.write(self._write_fd, self._numbers[:4096])
            except BlockingIOError:
                return
            except BrokenPipeError:
                break
            self._numbers = self._numbers[written:]
        self._close_write_end()

    def _close_write_end(self) -> None:
        if self._write_fd >= 0:
            self._loop.remove_writer(self._write_fd)
            os.close(self._write_fd)
            self._write_fd = -1

    def close(self) -> None:
        self._close_write_end()
        os.close(self.read_fd)


def _bytes(number: int) -> bytes:
    return number.to_bytes(NUMBER_BYTES, "little")


class QueueDispatcher:
    """A `Dispatch` that takes its requests from a shared queue.

    Of conversations the queue has the first turns; whoever sends one sends those that follow it.
    """

    def __init__(
        self,
        queue_fd: int,
        slots: int,
        due_s: Sequence[float] | None,
        turns: Turns | None = None,
    ) -> None:
        os.set_blocking(queue_fd, False)
        self.slots = slots
        self._fd, self._due_s, self._turns = queue_fd, due_s, turns
        self._empty = False
        """Whether the queue has ended."""
        self._free_at_s = deque([0.0] * slots)
        self._claimed: tuple[int, ...] = ()
        """The request that is handed out next, once it is due."""
        self._ready: list[tuple[float, int]] = []
        """Later turns, each with the time it is due."""
        self._in_flight = 0
        self._retry_s = 0.0
        first_s = None if due_s is None else [due for due in due_s if due == due]
        self._standby = standby_of(slots, first_s)  # later turns have NaN

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def has_turns(self) -> bool:
        return self._turns is not None

    @property
    def exhausted(self) -> bool:
        """True once nothing is left to hand out; turns that only an answer brings may follow."""
        return self._empty and not self._claimed and not self._ready

    @property
    def standby(self) -> int:
        return self._standby

    def take(self, now_s: float, most: int | None = None) -> list[tuple[int, float]]:
        taken: list[tuple[int, float]] = []
        self._retry_s = now_s + RETRY_S
        while len(taken) != most:
            if (due_s := self.next_due_s()) is None or due_s > now_s:
                break
            if self._turn_goes_first():
                _, request = heapq.heappop(self._ready)
            else:
                (request,), self._claimed = self._claimed, ()
            taken.append((request, due_s))
            self._free_at_s.popleft()
            self._in_flight += 1
        return taken

    def done(self, request: int, now_s: float) -> None:
        self._in_flight -= 1
        self._free_at_s.append(now_s)
        if self._turns is not None and (after := self._turns.following[request]) >= 0:
            heapq.heappush(self._ready, (now_s + self._turns.think_s[after], after))

    def next_due_s(self) -> float | None:
        if not self._free_at_s:
            return None
        more = bool(self._claimed) or self._claim()
        if self._turn_goes_first():
            ready_s = self._ready[0][0]
            return ready_s if self._due_s is not None else max(ready_s, self._free_at_s[0])
        if not more:
            return None
        waited_s = self._first_s() if self._claimed else self._retry_s
        return min(waited_s, self._ready[0][0]) if self._ready else waited_s

    def _turn_goes_first(self) -> bool:
        """Whether a later turn is handed out before the request that is claimed."""
        if not self._ready:
            return False
        ready_s = self._ready[0][0]
        return (
            ready_s <= self._first_s() if self._claimed else self._empty or ready_s <= self._retry_s
        )

    def _first_s(self) -> float:
        """When the claimed request is due."""
        return self._free_at_s[0] if self._due_s is None else self._due_s[self._claimed[0]]

    def _claim(self) -> bool:
        """Take the next number if the feeder is not behind; return whether more may come."""
        if self._empty:
            return False
        try:
            number = os.read(self._fd, NUMBER_BYTES)
        except BlockingIOError:
            return True
        self._claimed = (int.from_bytes(number, "little"),) if number else ()
        self._empty = not number
        return not self._empty
