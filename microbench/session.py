"""Starting the measuring processes one after the other and gathering what they tell."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from catalog.errors import RunFailed
from microbench.bound import Ceilings
from microbench.messages import Ceiling, Job, Measured, Message, Refused

LOG_TAIL = 400
ROOT = Path(__file__).parent.parent

Listener = Callable[[int, Message], None]
"""Told the process's number and what it says."""


@dataclass(slots=True)
class Gathered:
    """All messages by what they are about, one entry a process."""

    measured: dict[tuple[int, str], list[Measured]] = field(default_factory=dict)
    """By point and backend."""
    ceilings: dict[str, list[Ceilings]] = field(default_factory=dict)
    """By data type, in the order measured."""

    def add(self, message: Message) -> None:
        if isinstance(message, Measured):
            self.measured.setdefault((message.point, message.backend), []).append(message)
        elif isinstance(message, Ceiling):
            self.ceilings.setdefault(message.dtype, []).append(message.ceilings)

    def best(self, dtype: str) -> Ceilings:
        """The highest of each ceiling: what anything got out of the device in this run."""
        found = self.ceilings[dtype]
        return Ceilings(
            copy_bytes_per_s=max(each.copy_bytes_per_s for each in found),
            read_bytes_per_s=max(each.read_bytes_per_s for each in found),
            flops_per_s=max(each.flops_per_s for each in found),
        )


def run_processes(job: Job, processes: int, listen: Listener) -> Gathered:
    """Run the same job in so many processes, one at a time."""
    gathered = Gathered()
    for number in range(processes):
        for message in run_process(job):
            if isinstance(message, Refused):
                raise RunFailed(message.reason)
            gathered.add(message)
            listen(number, message)
    return gathered


def run_process(job: Job) -> Iterator[Message]:
    """Yield what one process tells; it is gone when this ends, however it ends."""
    with tempfile.TemporaryFile() as log, _process(job, log) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin as stdin:
            stdin.write(msgspec.json.encode(job))
        for line in process.stdout:
            yield msgspec.json.decode(line, type=Message)
        if process.wait() != 0:
            raise RunFailed(f"a measuring process ended with {_ended(process)}: {_tail(log)}")


@contextmanager
def _process(job: Job, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "microbench.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={**os.environ, **environment(job.device.threads)},
        start_new_session=True,  # Ctrl-C is for us: the process is ended below
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def environment(threads: int) -> dict[str, str]:
    """Threads of every numeric library, bound to cores before the first of them starts."""
    count = str(threads)
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OMP_PROC_BIND": "close",
        "OMP_PLACES": "cores",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def _ended(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    return f"signal {-code}" if code < 0 else f"code {code}"


def _tail(log: IO[bytes]) -> str:
    """The end of its log in one line."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - LOG_TAIL))
    return " ".join(log.read().decode(errors="replace").split()) or "it left no message"
