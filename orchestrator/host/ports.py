"""Ports of this host, handed out so that two servers never race for one."""

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator, Mapping

from catalog.inside import lock_file, private_folder

FIRST_PORT, LAST_PORT, RANGE = 21000, 32000, 50
"""Below Linux's ephemeral ports (32768…), so that no outgoing connection takes one."""
HELD = "\0moeserve-ports-{}"
"""An abstract Unix socket: known in the whole network of a host, where its ports are, gone with its
process. A file would not do: a site may give each job a temporary folder of its own."""


@contextlib.contextmanager
def port_range() -> Iterator[range]:
    """Hold a range of ports until the server that uses it has ended.

    vLLM binds further ports counted from a base, so neighbours need ranges, not single ports. The
    tasks of a job array begin to look at different ones.
    """
    starts = range(FIRST_PORT, LAST_PORT, RANGE)
    turn = _turn(os.environ) % len(starts)
    for first in (*starts[turn:], *starts[:turn]):
        with _held(first) as ours:
            if ours and _free(first):
                yield range(first, first + RANGE)
                return
    raise OSError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


def _turn(environment: Mapping[str, str]) -> int:
    """A number that neighbours on a node do not share: the id of the job, of each array task."""
    job = environment.get("SLURM_JOB_ID", "")
    return int(job) if job.isdecimal() else 0


@contextlib.contextmanager
def _held(first: int) -> Iterator[bool]:
    """Hold a range for this process, if nobody else on this host does."""
    if sys.platform != "linux":
        with _locked(first) as ours:
            yield ours
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mark:
        try:
            mark.bind(HELD.format(first))
        except OSError:
            yield False
            return
        yield True


@contextlib.contextmanager
def _locked(first: int) -> Iterator[bool]:
    """The same by a file, where there are no abstract sockets."""
    with lock_file(private_folder("ports") / str(first)) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
