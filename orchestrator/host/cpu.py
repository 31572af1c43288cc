"""This host's processor: what it can do, and which of its cores a server on it may have."""

import os
from pathlib import Path


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the instruction sets of this CPU as Linux names them; empty where it does not."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def server_cores() -> tuple[int, ...]:
    """Return the cores for servers that compute on the CPU: all of this process's but its first.

    That one is the client's, whose delays would else be measured as the server's. Of one core there
    is nothing to keep.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
    else:
        cores = list(range(os.cpu_count() or 1))
    return tuple(cores[1:] or cores)
