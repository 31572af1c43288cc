"""Starting the measuring processes, letting them take turns, and gathering what they tell.

All are alive at once, and one works at a time: a round of the first, a round of the second, and so
on. What slows the machine down for a while then slows all of them, and the difference between their
medians is the processes' own.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from catalog.errors import RunFailed
from catalog.python import SAFE_PATH, python_module
from microbench.bound import Ceilings
from microbench.messages import Ceiling, PointTimings, ProcessRefused, SweepJob, SweepMessage, Turn

LOG_TAIL = 400
ROOT = Path(__file__).parent.parent

MessageListener = Callable[[int, SweepMessage], None]
"""Told the process's number and what it says."""


@dataclass(slots=True)
class Gathered:
    """All messages by what they are about, one entry a process."""

    measured: dict[tuple[int, str], list[PointTimings]] = field(default_factory=dict)
    """By point and backend."""
    ceilings: dict[str, list[Ceilings]] = field(default_factory=dict)
    """By data type, in the order measured."""

    def add(self, message: SweepMessage) -> None:
        if isinstance(message, PointTimings):
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


def run_processes(job: SweepJob, processes: int, listen: MessageListener) -> Gathered:
    """Run the same job in so many processes; they are gone when this ends, however it ends."""
    gathered = Gathered()
    with contextlib.ExitStack() as stack:
        working = {n: stack.enter_context(_worker(job)) for n in range(processes)}
        while working:
            for number, worker in list(working.items()):
                for message in worker.turn():
                    gathered.add(message)
                    listen(number, message)
                if worker.ended:
                    del working[number]
    return gathered


@dataclass(slots=True)
class SweepProcess:
    """One measuring process, which waits until it is given a turn."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    ended: bool = False

    def turn(self) -> Iterator[SweepMessage]:
        """Let it work, and yield what it tells until it hands the turn back or ends."""
        assert self.process.stdout is not None
        self.write_line(b"")
        for line in self.process.stdout:
            message = msgspec.json.decode(line, type=SweepMessage)
            if isinstance(message, ProcessRefused):
                raise RunFailed(message.reason)
            if isinstance(message, Turn):
                return
            yield message
        self.ended = True
        if self.process.wait() != 0:
            raise RunFailed(f"a measuring process ended with {self._exit()}: {self._tail()}")

    def write_line(self, line: bytes) -> None:
        """Write one line; a process that is gone says why when it is read."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line + b"\n")
            self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _exit(self) -> str:
        code = self.process.returncode
        return f"signal {-code}" if code < 0 else f"code {code}"

    def _tail(self) -> str:
        """The end of its log in one line."""
        size = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, size - LOG_TAIL))
        return " ".join(self.log.read().decode(errors="replace").split()) or "it left no message"


@contextlib.contextmanager
def _worker(job: SweepJob) -> Iterator[SweepProcess]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            python_module("microbench.worker", "-X", "faulthandler"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **SAFE_PATH, **environment(job.device.threads)},
            start_new_session=True,  # Ctrl-C is for us: the process is ended below
        )
        worker = SweepProcess(process, log)
        try:
            worker.write_line(msgspec.json.encode(job))
            yield worker
        finally:
            worker.end()


# vLLM reports usage over the network and logs to standard output unless told not to.
QUIET = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR", "DO_NOT_TRACK": "1"}


def environment(threads: int) -> dict[str, str]:
    """Threads of every numeric library, bound to cores before it starts, and a silent vLLM."""
    count = str(threads)
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OMP_PROC_BIND": "close",
        "OMP_PLACES": "cores",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        **QUIET,
    }
