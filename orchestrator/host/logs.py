"""A server's log within bounds: what grows beyond a limit keeps its head and its tail.

The head says how the server started, the tail how it ended; a server that repeats one line for
hours must not fill the disk with it.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from orchestrator.host.files import write_all

MOST_BYTES = 64 * 2**20
HEAD_BYTES, TAIL_BYTES = 8 * 2**20, 8 * 2**20
LOOK_S = 2.0


def bound_log(log: Path) -> int:
    """Cut the middle out of a log beyond its limit; return how many bytes were left out.

    Its writer appends, and so goes on behind the tail; a line that it writes meanwhile may be lost.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(log, flags)
    except OSError:
        return 0
    try:
        size = os.fstat(descriptor).st_size
        if size <= MOST_BYTES:
            return 0
        tail = os.pread(descriptor, TAIL_BYTES, size - TAIL_BYTES)
        os.ftruncate(descriptor, HEAD_BYTES)
        left_out = size - HEAD_BYTES - len(tail)
        write_all(descriptor, b"\n[moeserve: %d bytes left out]\n" % left_out + tail)
        return left_out
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def bounded(log: Path) -> Iterator[None]:
    """Keep a log within its limit for as long as the block runs, and at its end."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            with contextlib.suppress(OSError):  # a full disk is told where rows are written
                bound_log(log)

    watching = threading.Thread(target=watch, name="log-bound", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
        with contextlib.suppress(OSError):
            bound_log(log)
