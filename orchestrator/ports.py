"""Ports of this host, handed out so that two servers never race for one."""

import contextlib
import fcntl
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

FIRST_PORT, LAST_PORT, RANGE = 21000, 32000, 50
"""Below Linux's ephemeral ports (32768…), so that no outgoing connection takes one."""


@contextlib.contextmanager
def port_range() -> Iterator[range]:
    """Hold a range of ports under a file lock until the server that uses it has ended.

    vLLM binds further ports counted from a base, so neighbours need ranges, not single ports.
    """
    folder = Path(tempfile.gettempdir()) / f"moeserve-ports-{Path.home().stat().st_uid}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for first in range(FIRST_PORT, LAST_PORT, RANGE):
        with (folder / str(first)).open("w") as lock:
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
