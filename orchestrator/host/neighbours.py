"""Whose node it is: other jobs of Slurm's beside ours, by the processes that hold their steps."""

import re
from collections.abc import Mapping
from pathlib import Path

PROC = Path("/proc")
STEP = re.compile(rb"slurmstepd: \[(\d+)[.+]")
"""`slurmstepd: [1234.batch]`: the daemon's name of the process that holds a step."""


def other_jobs(environment: Mapping[str, str], proc: Path = PROC) -> int | None:
    """Count the jobs on this node besides our own; None where that cannot be told.

    A process that does not even see its own job's steps (hidden ones, a container's own list of
    processes) sees nobody else's.
    """
    own = environment.get("SLURM_JOB_ID", "")
    jobs = {
        match[1].decode()
        for path in proc.glob("[0-9]*/cmdline")
        if (match := STEP.match(_read(path)))
    }
    return len(jobs - {own}) if own in jobs else None


def node_shared(others: int | None) -> str | None:
    """Say what `others` on a node mean for the condition of a run; None where it is unknown."""
    return None if others is None else "yes" if others else "no"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is not ours to see
        return b""
