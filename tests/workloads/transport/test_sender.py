"""Sends of one instant: compiled and in Python the same, and what did not go out whole is told."""

import errno
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.transport.connection import Connection
from workloads.transport.sender import Sent, failure, send_each, sender

native = pytest.importorskip("workloads.transport._native", reason="needs a C compiler")

Send = Callable[[Sequence[Connection], list[bytes]], Sent]
WAYS = {"compiled": sender(secure=False), "Python": send_each}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def pair(stack: ExitStack) -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    stack.callback(ours.close)
    stack.callback(theirs.close)
    ours.setblocking(False)
    return Connection(ours), theirs


def test_streams_through_tls_are_sent_by_python_and_plain_ones_compiled() -> None:
    assert sender(secure=True) is send_each
    assert sender(secure=False) is not send_each


@pytest.mark.parametrize("send", WAYS.values(), ids=WAYS)
@settings(max_examples=30, deadline=None)
@given(payloads=st.lists(st.binary(min_size=1, max_size=3000), max_size=20))
def test_each_socket_gets_its_payload_whole_and_stamps_rise(
    send: Send, payloads: list[bytes]
) -> None:
    with ExitStack() as stack:
        pairs = [pair(stack) for _ in payloads]
        begin = time.perf_counter()
        stamps, shorts = send([ours for ours, _ in pairs], payloads)
        end = time.perf_counter()
        assert [theirs.recv(4000) for _, theirs in pairs] == payloads
        assert shorts == []
        assert stamps == sorted(stamps)
        assert len(stamps) == len(payloads)
        assert all(begin <= stamp <= end for stamp in stamps)


@pytest.mark.parametrize("send", WAYS.values(), ids=WAYS)
def test_what_a_full_socket_did_not_take_and_a_broken_one_are_told_and_the_others_are_sent(
    send: Send, stack: ExitStack
) -> None:
    pairs = [pair(stack) for _ in range(4)]
    huge = bytes(50_000_000)
    full, broken = pairs[1][0], pairs[2]
    took = full.sock.send(huge)
    with pytest.raises(BlockingIOError):
        full.sock.send(b"more")
    broken[1].close()
    ours = [one for one, _ in pairs]
    stamps, shorts = send(ours, [b"a", b"b", b"c", huge])
    assert len(stamps) == 4
    assert pairs[0][1].recv(10) == b"a"
    assert shorts[:2] == [(1, -errno.EAGAIN), (2, -errno.EPIPE)]
    assert shorts[2][0] == 3
    assert 0 < shorts[2][1] <= took < len(huge)


def test_only_a_socket_that_may_take_the_rest_later_has_not_failed() -> None:
    assert failure(0) is None
    assert failure(17) is None
    assert failure(-errno.EAGAIN) is None
    assert failure(-errno.EINTR) is None
    for number in (errno.EPIPE, errno.ECONNRESET, errno.EBADF):
        error = failure(-number)
        assert isinstance(error, OSError)
        assert error.errno == number


class Empties:
    def __init__(self, number: int, emptied: list[bytes]) -> None:
        self.number, self.emptied = number, emptied

    def __index__(self) -> int:
        self.emptied.clear()
        return self.number


def test_wrong_arguments_are_exceptions_and_never_a_crash(stack: ExitStack) -> None:
    ours, _ = pair(stack)
    for fds, payloads, error in (
        ([ours.fd], [], ValueError),
        ([-1], [b"x"], ValueError),
        ([2**31], [b"x"], ValueError),
        ([2**70], [b"x"], OverflowError),
        (["x"], [b"x"], TypeError),
        ([ours.fd], ["text"], TypeError),
        ((ours.fd,), [b"x"], TypeError),
    ):
        with pytest.raises(error):
            native.send_all(fds, payloads)
    payloads = [b"x"]
    with pytest.raises(IndexError):
        native.send_all([Empties(ours.fd, payloads)], payloads)
