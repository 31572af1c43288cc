"""The watch over all tests sees what one leaves, and lets pass what has ended or was there."""

import asyncio
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.leftovers import nothing_new
from tests.machine import until


def a_process() -> Callable[[], object]:
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE).communicate


def a_thread() -> Callable[[], object]:
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()

    def end() -> None:
        gate.set()
        thread.join()

    return end


def a_file() -> Callable[[], object]:
    return Path(__file__).open().close


def a_socket() -> Callable[[], object]:
    return socket.socket().close


def an_event_loop() -> Callable[[], object]:
    return asyncio.new_event_loop().close


@pytest.mark.parametrize("start", [a_process, a_thread, a_file, a_socket, an_event_loop])
def test_what_is_left_is_told_and_what_has_ended_is_not(
    start: Callable[[], Callable[[], object]],
) -> None:
    with nothing_new(grace_s=0.0):
        start()()
    ends: list[Callable[[], object]] = []
    with (
        pytest.raises(pytest.fail.Exception, match=r"left behind: (process|thread|descriptor)"),
        nothing_new(grace_s=0.0),
    ):
        ends.append(start())
    ends[0]()


def test_what_a_process_of_a_wider_fixture_starts_is_not_this_test_s() -> None:
    with subprocess.Popen(["sh"], stdin=subprocess.PIPE) as shell:
        with nothing_new(grace_s=0.0):
            assert shell.stdin is not None
            shell.stdin.write(b"sleep 600\n")
            shell.stdin.flush()
            until(lambda: psutil.Process(shell.pid).children())
        (child,) = psutil.Process(shell.pid).children()
        child.kill()
