"""The compiled reader's methods, called rightly and wrongly: `python -m tests.fuzz.sanitize`."""

import argparse
import math
import select
import signal
import socket
import struct
import threading
import time
from array import array
from collections import Counter
from contextlib import ExitStack, suppress
from random import Random
from types import FrameType

from tests.fuzz.sanitized import load_reader, open_files, resident_mb

native = load_reader()
Reader, send_all = native.Reader, native.send_all
ROOM = 64
PAYLOADS = (
    b"x", b"a token\n", b"HTTP/1.1 200 OK\r\n", b"data: [DONE]\n\n\r\n0\r\n\r\n", b"y" * 70_000,
)  # fmt: skip
LIMITS = (0, 1, 7, ROOM, ROOM + 1, -1, -(2**63), 2**31, 2**60, 2**61, 2**62, 2**63 - 1)
FAR = (math.inf, 1e10, 1e300, 4e9, 9.3e9)
NEAR = (0.0, -0.0, -1.0, -math.inf, math.nan, 1e-300)
MISUSES = (ValueError, TypeError, OverflowError, BufferError, OSError, RuntimeError, IndexError)
MOST_GROWN_MB = 200.0


class Shrinks:
    """A number that empties a list while it is asked for."""

    def __init__(self, number: int, emptied: list[object]) -> None:
        self.number, self.emptied = number, emptied

    def __index__(self) -> int:
        self.emptied.clear()
        return self.number


class Round:
    """A reader over some sockets, that are closed, reset and filled under its hands."""

    def __init__(self, rng: Random, stack: ExitStack, counts: Counter[str]) -> None:
        self.rng, self.counts = rng, counts
        self.epoll = stack.enter_context(select.epoll())
        self.wake, self.waker = socket.socketpair()
        self.pairs = [socket.socketpair() for _ in range(rng.randint(1, 24))]
        stack.callback(self.end)
        self.reader = Reader(self.epoll.fileno(), self.wake.fileno())
        self.epoll.register(self.wake.fileno(), select.EPOLLIN)
        self.epoll.register(self.reader.timer, select.EPOLLIN)
        for ours, theirs in self.pairs:
            ours.setblocking(False)
            theirs.setblocking(False)
            self.epoll.register(ours.fileno(), select.EPOLLIN)
        self.datas: list[bytes] = []

    def end(self) -> None:
        for one in (self.wake, self.waker, *(end for pair in self.pairs for end in pair)):
            one.close()

    def send(self) -> None:
        with suppress(OSError):
            self.rng.choice(self.pairs)[1].send(self.rng.choice(PAYLOADS))

    def disturb(self) -> None:
        """Close or reset a socket whose events may be at hand, and give its number to another."""
        at = self.rng.randrange(len(self.pairs))
        ours, theirs = self.pairs[at]
        with suppress(OSError):
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.rng.random() < 0.5:
            theirs.close()
            return
        ours.close()
        theirs.close()
        self.pairs[at] = near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        mask = self.rng.choice((select.EPOLLIN, select.EPOLLIN | select.EPOLLOUT))
        with suppress(OSError):
            self.epoll.register(near.fileno(), mask)

    def columns(self) -> tuple[object, object]:
        """Room for the log, or what is none: unaligned, too small, not writable, no buffer."""
        kind = self.rng.randrange(8)
        fds, stamps = array("i", bytes(4 * ROOM)), array("d", bytes(8 * ROOM))
        if kind == 0:
            return memoryview(bytearray(4 * ROOM + 1))[1:], memoryview(bytearray(8 * ROOM + 3))[3:]
        if kind == 1:
            return array("i", bytes(4 * self.rng.randrange(ROOM))), stamps
        if kind == 2:
            return fds, self.rng.choice((bytes(8 * ROOM), None, 3, memoryview(stamps)[::2]))
        return fds, stamps

    def read(self) -> None:
        far = self.rng.random() < 0.1
        if far:
            self.waker.send(b"!")  # the one thing that ends such a wait
        until = self.rng.choice(FAR) if far else self.rng.choice(NEAR)
        if not far and self.rng.random() < 0.1:
            until = time.perf_counter() + 0.001
        limit = ROOM if far or self.rng.random() < 0.7 else self.rng.choice(LIMITS)
        fds, stamps = self.columns()
        if self.rng.random() < 0.3 or len(self.datas) >= ROOM:
            self.datas.clear()
        try:
            told = self.reader.read(self.datas, fds, stamps, limit, until)
            self.counts["reads"] += 1
            self.counts["told a socket" if told >= 0 else f"told {told}"] += 1
        except MISUSES as error:
            self.counts[f"refused: {type(error).__name__}"] += 1
        if far:
            with suppress(BlockingIOError):
                self.wake.recv(64, socket.MSG_DONTWAIT)

    def misuse(self) -> None:
        """Everything but reading rightly."""
        kind = self.rng.randrange(6)
        try:
            if kind == 0:
                Reader.__new__(Reader).read(self.datas, *self.columns(), ROOM, self.rng.choice(FAR))
            elif kind == 1:
                Reader.__new__(Reader).close()
            elif kind == 2:
                self.reader.__init__(self.epoll.fileno(), self.wake.fileno())
            elif kind == 3:
                Reader(self.rng.choice((-1, 2**31, "x", 10**6)), self.rng.choice((-1, None, 0)))
            elif kind == 4:
                self.reader.forget()
            else:
                self.reader.read(tuple(self.datas), *self.columns(), ROOM, 0.0)
        except MISUSES as error:
            self.counts[f"refused: {type(error).__name__}"] += 1

    def send_all(self) -> None:
        """Payloads to sockets, or to what is none, in lists of one length or not."""
        count = self.rng.randrange(6)
        wrong: list[object] = [None, "x", bytearray(3), b""]
        payloads: list[object] = [
            self.rng.choice(wrong) if self.rng.random() < 0.05 else self.rng.choice(PAYLOADS)
            for _ in range(count + (self.rng.random() < 0.05))
        ]
        fds: list[object] = [self.rng.choice(self.pairs)[0].fileno() for _ in range(count)]
        if count and self.rng.random() < 0.3:
            emptied = self.rng.choice((fds, payloads))
            odd = (-1, 10**6, 2**31, 2**70, None, "x", 0.5, Shrinks(10**6, emptied))
            fds[self.rng.randrange(count)] = self.rng.choice(odd)
        try:
            stamps, shorts = send_all(fds, payloads)
            assert len(stamps) <= count
            assert all(0 <= index < count for index, _ in shorts)
            self.counts["sends"] += count
        except MISUSES as error:
            self.counts[f"refused: {type(error).__name__}"] += 1

    def together(self) -> None:
        """Two threads read with one reader: one of them is refused while the other waits."""
        until = time.perf_counter() + 0.002
        fds, stamps = array("i", bytes(4 * ROOM)), array("d", bytes(8 * ROOM))

        def wait() -> None:
            with suppress(*MISUSES):
                self.reader.read([], fds, stamps, ROOM, until)

        thread = threading.Thread(target=wait)
        thread.start()
        self.read()
        self.misuse()
        thread.join()
        self.counts["two threads"] += 1

    def step(self) -> None:
        draw = self.rng.random()
        if draw < 0.4:
            self.send()
        elif draw < 0.45:
            self.send_all()
        elif draw < 0.85:
            self.read()
        elif draw < 0.93:
            self.disturb()
        elif draw < 0.99:
            self.misuse()
        else:
            self.together()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts: Counter[str] = Counter()

    def ring(_number: int, _frame: FrameType | None) -> None:
        counts["signals"] += 1

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.003)
    rng, end = Random(given.seed), time.perf_counter() + given.seconds
    before: tuple[int, float] | None = None
    while time.perf_counter() < end:
        with ExitStack() as stack:
            one = Round(rng, stack, counts)
            for _ in range(400):
                one.step()
            if rng.random() < 0.5:
                one.reader.close()
            del one
        counts["rounds"] += 1
        if before is None:
            before = (open_files(), resident_mb())
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    assert before is not None, "no time for a single round"
    grown = resident_mb() - before[1]
    print(f"reader: {dict(sorted(counts.items()))}, memory {grown:+.0f} MB")
    assert open_files() == before[0], f"{before[0]} open files at first, now {open_files()}"
    assert grown < MOST_GROWN_MB


if __name__ == "__main__":
    main()
