"""The compiled reader: it reads as Python's does, and comes back for all that is more."""

import asyncio
import math
import os
import select
import socket
import struct
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.fuzz.sanitized import open_files
from workloads.transport.socket_waiter import SocketWaiter

native = pytest.importorskip("workloads.transport._native", reason="needs a C compiler")

NOTHING, WOKEN, FULL = -1, -2, -3


class Bench:
    """A reader over some sockets, and the trace it writes."""

    def __init__(self, stack: ExitStack, sockets: int = 1, room: int = 64) -> None:
        self.epoll = stack.enter_context(select.epoll())
        pairs = [socket.socketpair() for _ in range(sockets)]
        for one in (end for pair in pairs for end in pair):
            stack.callback(one.close)
            one.setblocking(False)
        self.ours, self.theirs = zip(*pairs, strict=True)
        self.wake, self.waker = socket.socketpair()
        stack.callback(self.wake.close)
        stack.callback(self.waker.close)
        self.reader = native.Reader(self.epoll.fileno(), self.wake.fileno())
        stack.callback(self.reader.close)
        for fd in (self.wake.fileno(), self.reader.timer, *(one.fileno() for one in self.ours)):
            self.epoll.register(fd, select.EPOLLIN)
        self.datas: list[bytes] = []
        self.fds, self.stamps = array("i", bytes(4 * room)), array("d", bytes(8 * room))
        self.room = room

    def read(self, wait_s: float = 0.0) -> int:
        until = time.perf_counter() + wait_s if wait_s else 0.0
        return int(self.reader.read(self.datas, self.fds, self.stamps, self.room, until))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_each_read_is_logged_with_its_socket_and_an_instant_of_perf_counter(
    stack: ExitStack,
) -> None:
    bench = Bench(stack, sockets=3)
    before = time.perf_counter()
    for number, end in enumerate(bench.theirs):
        end.send(b"token %d\n" % number)
    assert bench.read() == NOTHING
    assert sorted(bench.datas) == [b"token 0\n", b"token 1\n", b"token 2\n"]
    by_socket = dict(zip(bench.fds[:3], bench.datas, strict=True))
    assert by_socket == {one.fileno(): b"token %d\n" % n for n, one in enumerate(bench.ours)}
    assert before <= min(bench.stamps[:3]) <= max(bench.stamps[:3]) <= time.perf_counter()
    assert bench.read() == NOTHING
    assert len(bench.datas) == 3


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 200 OK\r\n", b"data: [DONE]\n\n\r\n0\r\n\r\n", b"short", b"x" * 65_536],
    ids=["a head", "an end", "a scrap", "a flood"],
)
def test_what_must_be_looked_at_comes_back_at_once(stack: ExitStack, data: bytes) -> None:
    bench = Bench(stack)
    bench.ours[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    bench.theirs[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    assert bench.theirs[0].send(data) == len(data)
    assert bench.read(wait_s=5.0) == bench.ours[0].fileno()
    assert bench.datas == [data]
    assert (bench.reader.error, bench.reader.mask) == (0, select.EPOLLIN)


def test_a_close_and_a_reset_come_back_with_what_they_were(stack: ExitStack) -> None:
    bench = Bench(stack)
    bench.theirs[0].shutdown(socket.SHUT_WR)
    assert bench.read() == bench.ours[0].fileno()
    assert bench.datas == [b""]
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    near = stack.enter_context(socket.create_connection(listener.getsockname()))
    far, _ = listener.accept()
    bench.epoll.unregister(bench.ours[0].fileno())
    bench.epoll.register(near.fileno(), select.EPOLLIN)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    assert bench.read(wait_s=5.0) == near.fileno()
    assert bench.reader.mask != select.EPOLLIN  # told of the hang-up first, then of the reading
    assert bench.read() == near.fileno()
    assert bench.reader.error != 0


def test_a_wait_ends_in_time_or_when_the_loop_is_wanted(stack: ExitStack) -> None:
    bench = Bench(stack)
    begin = time.perf_counter()
    assert bench.read(wait_s=0.05) == NOTHING
    assert time.perf_counter() - begin >= 0.05
    assert bench.reader.waited_s >= 0.05
    bench.waker.send(b"!")
    assert bench.read(wait_s=30.0) == WOKEN


def test_plain_reads_do_not_end_a_wait(stack: ExitStack) -> None:
    bench = Bench(stack)
    bench.theirs[0].send(b"a token\n")
    assert bench.read(wait_s=0.05) == NOTHING
    assert bench.datas == [b"a token\n"]


def test_a_full_log_ends_the_reading_and_nothing_is_lost(stack: ExitStack) -> None:
    bench = Bench(stack, sockets=5, room=3)
    for end in bench.theirs:
        end.send(b"a token\n")
    assert bench.read() == FULL
    assert len(bench.datas) == 3
    bench.datas.clear()
    bench.reader.forget()
    assert bench.read() == NOTHING
    assert bench.datas == [b"a token\n"] * 2


def test_a_log_with_less_room_than_its_limit_is_refused(stack: ExitStack) -> None:
    bench = Bench(stack)
    with pytest.raises(ValueError, match="fewer entries"):
        bench.reader.read([], array("i", bytes(4)), bench.stamps, 64, 0.0)


@pytest.mark.parametrize("limit", [-1, 65, 2**31, 2**61, 2**62, 2**63 - 1, -(2**63)])
def test_a_limit_that_the_log_cannot_hold_is_refused_however_large(
    stack: ExitStack, limit: int
) -> None:
    bench = Bench(stack)
    bench.theirs[0].send(b"a token\n")
    with pytest.raises(ValueError, match="fewer entries"):
        bench.reader.read(bench.datas, bench.fds, bench.stamps, limit, 0.0)
    assert bench.datas == []


@pytest.mark.parametrize("until", [math.inf, 1e10, 1e300])
def test_a_wait_of_centuries_is_a_wait_until_something_happens(
    stack: ExitStack, until: float
) -> None:
    bench = Bench(stack)
    bench.waker.send(b"!")
    assert bench.reader.read([], bench.fds, bench.stamps, bench.room, until) == WOKEN


@pytest.mark.parametrize("until", [math.nan, -math.inf, -1e300, -0.0])
def test_an_instant_that_is_none_has_passed(stack: ExitStack, until: float) -> None:
    bench = Bench(stack)
    assert bench.reader.read([], bench.fds, bench.stamps, bench.room, until) == NOTHING


def test_a_log_that_lies_unaligned_in_memory_is_written_all_the_same(stack: ExitStack) -> None:
    bench = Bench(stack)
    bench.theirs[0].send(b"a token\n")
    fds, stamps = bytearray(1 + 4 * 2), bytearray(3 + 8 * 2)
    before = time.perf_counter()
    told = bench.reader.read(bench.datas, memoryview(fds)[1:], memoryview(stamps)[3:], 2, 0.0)
    assert told == NOTHING
    assert struct.unpack_from("=i", fds, 1) == (bench.ours[0].fileno(),)
    assert before <= struct.unpack_from("=d", stamps, 3)[0] <= time.perf_counter()


def test_a_reader_that_was_never_initialised_reads_nothing_and_closes_nothing() -> None:
    inode = os.fstat(0).st_ino
    reader = native.Reader.__new__(native.Reader)
    assert reader.timer == -1
    reader.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.read([], array("i", bytes(4)), array("d", bytes(8)), 1, 0.0)
    del reader
    assert os.fstat(0).st_ino == inode


def test_a_reader_initialised_twice_keeps_its_one_timer(stack: ExitStack) -> None:
    bench = Bench(stack)
    timer, before = bench.reader.timer, open_files()
    for _ in range(50):
        bench.reader.__init__(bench.epoll.fileno(), bench.wake.fileno())
    assert bench.reader.timer == timer
    assert open_files() == before
    with pytest.raises(TypeError):
        bench.reader.__init__("no file")
    assert bench.read(wait_s=0.01) == NOTHING


def test_a_reader_that_is_dropped_takes_its_timer_with_it(stack: ExitStack) -> None:
    bench, before = Bench(stack), open_files()
    for _ in range(50):
        native.Reader(bench.epoll.fileno(), bench.wake.fileno())
    assert open_files() == before


def test_a_second_reading_while_one_waits_is_refused(stack: ExitStack) -> None:
    bench = Bench(stack)
    told: list[int] = []
    thread = threading.Thread(target=lambda: told.append(bench.read(wait_s=30.0)))
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="reading already"):
            while thread.is_alive():
                bench.read()
                time.sleep(0.001)
    finally:
        bench.waker.send(b"!")
        thread.join()
    assert told == [WOKEN]


async def test_a_turn_that_was_still_to_come_is_not_had_after_the_end() -> None:
    turns: list[float] = []
    with select.epoll() as epoll:
        waiting = SocketWaiter(asyncio.get_running_loop(), epoll, lambda: turns.append(0.0))
        assert waiting.possible
        waiting.begin()
        waiting.hold()
        waiting.again(after=1)
        waiting.end()
        for _ in range(5):
            await asyncio.sleep(0)
    assert turns == []
