"""CPU time of a process tree over time, so that the load's share of it can be told."""

import itertools
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

PERIOD_S = 0.01
TURNS_A_SEARCH = 50


@dataclass
class CpuSampler:
    """Samples the CPU seconds of a process and its descendants, ended ones included."""

    process: psutil.Process
    instants: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    others_s: list[float] = field(default_factory=list)

    def run(self, over: threading.Event) -> None:
        known: dict[int, float] = {}
        family = [self.process]
        for turn in itertools.count():
            if over.wait(PERIOD_S):
                return
            # To look for children is to read all of /proc: dear, so seldom.
            if turn % TURNS_A_SEARCH == 0:
                family = _family(self.process)
            for process in family:
                known[process.pid] = max(known.get(process.pid, 0.0), _cpu_s(process))
            self.instants.append(time.monotonic())
            self.seconds.append(sum(known.values()))
            self.others_s.append(_busy_s())

    def between(self, begin_s: float, end_s: float) -> float:
        """CPU seconds of the tree between two instants."""
        return float(np.diff(np.interp((begin_s, end_s), self.instants, self.seconds))[0])

    def machine_between(self, begin_s: float, end_s: float) -> float:
        """CPU seconds of the whole machine between two instants."""
        return float(np.diff(np.interp((begin_s, end_s), self.instants, self.others_s))[0])


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _cpu_s(process: psutil.Process) -> float:
    """`/proc/PID/schedstat` counts nanoseconds; the usual counters only hundredths of a second."""
    try:
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def run_sampled(
    command: list[str], *, env: dict[str, str], timeout_s: float
) -> tuple[str, CpuSampler]:
    """Run a client to its end; returns what it printed and its CPU over time."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    sampler, over = CpuSampler(psutil.Process(process.pid)), threading.Event()
    thread = threading.Thread(target=sampler.run, args=(over,))
    thread.start()
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        over.set()
        thread.join()
        for one in _family(sampler.process):
            with suppress(psutil.Error):
                one.kill()
        process.wait()
    if process.returncode:
        raise RuntimeError(err.decode(errors="replace")[-600:])
    return out.decode(errors="replace"), sampler
