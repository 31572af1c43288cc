"""Each test ends what it starts: what it leaves fails that test, and not a later one.

A process, a thread that is no daemon, or a descriptor (a file, a pipe, a socket, the epoll of an
event loop) that was not there when the test began is left behind. What belongs to a fixture of a
wider scope was there: such fixtures are set up first, and what their processes start is theirs.
"""

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
import pytest
import uvloop

from tests.machine import limit

GRACE_S = 2.0
"""What was told to end may take this long on a quiet machine."""
DESCRIPTORS = Path("/proc/self/fd")
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "loky")
"""Processes of libraries that serve the whole session."""

# libuv makes a pipe for signals with the first loop, for as long as the process lives.
uvloop.new_event_loop().close()


@dataclass(frozen=True, slots=True)
class Held:
    """What this process holds at a moment."""

    processes: frozenset[psutil.Process]
    threads: frozenset[threading.Thread]
    descriptors: frozenset[tuple[str, str]]

    def beyond(self, before: "Held") -> list[str]:
        """Say in words what is held now and was not before."""
        return [
            *(f"process {_words(each)}" for each in self.started_after(before)),
            *(f"thread {each.name}" for each in self.threads - before.threads),
            *(f"descriptor {fd}: {what}" for fd, what in self.descriptors - before.descriptors),
        ]

    def started_after(self, before: "Held") -> list[psutil.Process]:
        new = self.processes - before.processes
        return [each for each in new if before.processes.isdisjoint(_parents(each))]


def held() -> Held:
    return Held(
        frozenset(_processes()),
        frozenset(each for each in threading.enumerate() if not each.daemon),
        frozenset(_descriptors()),
    )


def _processes() -> Iterator[psutil.Process]:
    try:  # one system call where there is no child at all: listing all processes takes a while
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return
    for each in psutil.Process().children(recursive=True):
        if not any(helper in _words(each) for helper in HELPERS):
            yield each


def _parents(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.parents()
    return []


def _words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()) or f"{process.name()} ({process.status()})"
    return f"{process.pid} (ended)"


def _descriptors() -> Iterator[tuple[str, str]]:
    tracker = getattr(resource_tracker, "_resource_tracker", None)  # a helper, too, has a pipe
    helpers = {str(getattr(tracker, "_fd", None))}
    for path in DESCRIPTORS.iterdir() if DESCRIPTORS.exists() else ():  # elsewhere than on Linux
        with contextlib.suppress(OSError):  # the listing's own
            what = str(path.readlink())
            # Matplotlib, for one, keeps fonts open.
            if path.name not in helpers and not what.startswith(sys.prefix):
                yield path.name, what


@contextlib.contextmanager
def nothing_new(grace_s: float) -> Iterator[None]:
    """Fail if what the block starts is still there so long after it; processes are killed."""
    before = held()
    yield
    if not (left := held().beyond(before)):
        return
    gc.collect()
    deadline = time.monotonic() + grace_s
    while (now := held()) and (left := now.beyond(before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in now.started_after(before):
        with contextlib.suppress(psutil.Error):
            process.kill()
    if left:
        pytest.fail("left behind: " + "; ".join(sorted(left)))


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves something, unless it says so with the marker `leaves`."""
    # What was there is looked at no more: a collection then costs what the test itself made.
    gc.freeze()
    marked = request.node.get_closest_marker("leaves") is not None
    with contextlib.nullcontext() if marked else nothing_new(limit(GRACE_S)):
        yield
    gc.collect()  # what only a cycle holds warns of itself, in this test
