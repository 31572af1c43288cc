"""One queue of requests for several processes: a pipe of request numbers."""

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Sequence

from workloads.load.dispatch import standby_of

NUMBER_BYTES = 4
LARGE_PIPE_BYTES = 1 << 20
RETRY_S = 0.001


class SharedQueue:
    """Feeds request numbers to whoever reads the other end; each number is read once.

    Reads and writes of whole numbers are not torn: a pipe moves up to 4096 bytes at once.
    """

    def __init__(self, count: int) -> None:
        self._numbers = memoryview(b"".join(map(_bytes, range(count))))
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
    """A `Dispatch` that takes its requests from a shared queue."""

    def __init__(self, queue_fd: int, slots: int, due_s: Sequence[float] | None) -> None:
        os.set_blocking(queue_fd, False)
        self.slots = slots
        self.exhausted = False
        self._fd, self._due_s = queue_fd, due_s
        self._free_at_s = deque([0.0] * slots)
        self._claimed: tuple[int, ...] = ()
        """The request that is handed out next, once it is due."""
        self._in_flight = 0
        self._retry_s = 0.0

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def standby(self) -> int:
        return standby_of(self.slots, self._due_s)

    def take(self, now_s: float, most: int | None = None) -> list[tuple[int, float]]:
        taken: list[tuple[int, float]] = []
        self._retry_s = now_s + RETRY_S
        while len(taken) != most:
            if (due_s := self.next_due_s()) is None or due_s > now_s:
                break
            taken.append((self._claimed[0], due_s))
            self._claimed = ()
            self._free_at_s.popleft()
            self._in_flight += 1
        return taken

    def done(self, request: int, now_s: float) -> None:  # noqa: ARG002 - a `Dispatch` is told both
        self._in_flight -= 1
        self._free_at_s.append(now_s)

    def next_due_s(self) -> float | None:
        if not self._free_at_s or not (self._claimed or self._claim()):
            return None
        if not self._claimed:
            return self._retry_s
        return self._free_at_s[0] if self._due_s is None else self._due_s[self._claimed[0]]

    def _claim(self) -> bool:
        """Take the next number if the feeder is not behind; return whether more may come."""
        if self.exhausted:
            return False
        try:
            number = os.read(self._fd, NUMBER_BYTES)
        except BlockingIOError:
            return True
        self._claimed = (int.from_bytes(number, "little"),) if number else ()
        self.exhausted = not number
        return not self.exhausted
