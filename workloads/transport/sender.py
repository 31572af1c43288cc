"""Sending requests that are due at one instant, each stamped as it leaves."""

import errno
import os
from collections.abc import Callable, Sequence
from time import perf_counter

from workloads.transport.connection import Connection

Short = tuple[int, int]
"""Which send was not whole, and how many bytes it took; below 0 the `errno` that it failed with."""
Sent = tuple[list[float], list[Short]]
"""When each began, and those that were not whole."""


def sender(*, secure: bool) -> Callable[[Sequence[Connection], list[bytes]], Sent]:
    """Return how a payload each is sent to connections: compiled where that can be."""
    try:
        from workloads.transport._native import send_all
    except ImportError:
        return send_each
    if secure:
        return send_each
    return lambda connections, payloads: send_all([each.fd for each in connections], payloads)


def send_each(connections: Sequence[Connection], payloads: list[bytes]) -> Sent:
    """Do the same as the compiled one, through TLS too."""
    stamps: list[float] = []
    shorts: list[Short] = []
    for index, (connection, payload) in enumerate(zip(connections, payloads, strict=True)):
        stamps.append(perf_counter())
        try:
            sent = connection.send(payload)
        except BlockingIOError:
            sent = -errno.EAGAIN
        except OSError as error:
            sent = -(error.errno or errno.EPIPE)
        if sent != len(payload):
            shorts.append((index, sent))
    return stamps, shorts


def failure(sent: int) -> OSError | None:
    """Return why a send that was not whole has failed; None if its rest can be sent later."""
    if sent >= 0 or -sent in (errno.EAGAIN, errno.EINTR):
        return None
    return OSError(-sent, os.strerror(-sent))
