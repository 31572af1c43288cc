"""Ports of this host, handed out so that two servers never race for one."""

import contextlib
import fcntl
import socket
from collections.abc import Iterator

from catalog.inside import lock_file, private_folder

FIRST_PORT, LAST_PORT, RANGE = 21000, 32000, 50
"""Below Linux's ephemeral ports (32768…), so that no outgoing connection takes one."""


@contextlib.contextmanager
def port_range() -> Iterator[range]:
    """Hold a range of ports under a file lock until the server that uses it has ended.

    vLLM binds further ports counted from a base, so neighbours need ranges, not single ports.
    """
    folder = private_folder("ports")
    for first in range(FIRST_PORT, LAST_PORT, RANGE):
        with lock_file(folder / str(first)) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if _free(first):
                yield range(first, first + RANGE)
                return
    raise OSError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
