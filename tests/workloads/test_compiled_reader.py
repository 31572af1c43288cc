"""The compiled reader: it reads as Python's does, and comes back for all that is more."""

import asyncio
import select
import socket
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from workloads.waiting import Waiting

native = pytest.importorskip("workloads._native", reason="built only where there is a C compiler")

NOTHING, WOKEN, FULL = -1, -2, -3


class Bench:
    """A reader over some sockets, and the log it writes."""

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


async def test_a_turn_that_was_still_to_come_is_not_had_after_the_end() -> None:
    turns: list[float] = []
    with select.epoll() as epoll:
        waiting = Waiting(asyncio.get_running_loop(), epoll, lambda: turns.append(0.0))
        assert waiting.possible
        waiting.begin()
        waiting.hold()
        waiting.again(after=1)
        waiting.end()
        for _ in range(5):
            await asyncio.sleep(0)
    assert turns == []
