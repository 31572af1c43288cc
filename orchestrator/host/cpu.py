"""This host's processor: what it can do, and which of its cores a server on it may have."""

import asyncio
import os
from pathlib import Path
from typing import Any

import psutil

SAMPLE_S = 0.5


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


async def free_cores(sample_s: float = SAMPLE_S) -> float:
    """Measure how many of this process's cores nobody uses: the sum of their idle shares.

    A container's quota is not seen.
    """
    before = psutil.cpu_times(percpu=True)
    await asyncio.sleep(sample_s)
    after = psutil.cpu_times(percpu=True)
    here = psutil.Process().cpu_affinity() if hasattr(os, "sched_getaffinity") else None
    cores = range(len(after)) if here is None else [core for core in here if core < len(after)]
    return sum(_idle_share(before[core], after[core]) for core in cores)


def _idle_share(before: Any, after: Any) -> float:
    """Of one core, by psutil's times: one that waited for a disk is free. 1 where no time went."""
    passed = {name: getattr(after, name) - getattr(before, name) for name in after._fields}
    # Linux counts a guest's time in `user` and `nice` as well.
    total = sum(took for name, took in passed.items() if not name.startswith("guest"))
    return (passed["idle"] + passed.get("iowait", 0.0)) / total if total > 0 else 1.0
