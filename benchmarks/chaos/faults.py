"""Faults of a cluster at random moments: each daemon, node and task has a thread that ends it."""

import contextlib
import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

CLUSTER = Path(__file__).parents[2] / "tests" / "slurm" / "cluster" / "cluster.sh"
Span = tuple[float, float]
"""Seconds, from and to."""


@dataclass
class Cluster:
    """The Slurm of the tests, in a folder of its own, and a log of what was done to it."""

    state: Path
    environment: dict[str, str]
    began: float = field(default_factory=time.monotonic)
    done: Counter[str] = field(default_factory=Counter)
    log: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, text: str) -> None:
        with self.log:
            print(f"{time.monotonic() - self.began:7.1f} {text}", flush=True)

    def do(self, command: str, node: str = "") -> None:
        words = [str(CLUSTER), command, str(self.state), *([node] if node else [])]
        subprocess.run(words, env=self.environment, check=True, stdin=subprocess.DEVNULL)

    def ask(self, *words: str) -> str | None:
        """Run a command of Slurm's; None where it does not answer."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                words, env=self.environment, capture_output=True, text=True, timeout=30
            )
            return None if done.returncode else done.stdout
        return None


def processes(words: str, folder: Path) -> Iterator[psutil.Process]:
    """Processes with these words in the command line, and the folder there or in a variable."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            named = [line, *process.environ().values()] if words in line else ()
            if any(str(folder) in text for text in named):
                yield process


class Chaos:
    """Threads that break things and put them right again, until they are told to stop."""

    def __init__(self, cluster: Cluster, *, nodes: int, seed: int) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        works: list[Callable[[random.Random], None]] = [self._controller, self._accounts]
        works += [lambda rng, n=f"node{i + 1}": self._node(rng, n) for i in range(nodes)]
        works.append(self._task)
        self._threads = [
            threading.Thread(target=self._repeat, args=(work, random.Random(f"{seed} {i}")))
            for i, work in enumerate(works)
        ]

    def __enter__(self) -> "Chaos":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What is down comes up again before its thread ends."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, work: Callable[[random.Random], None], rng: random.Random) -> None:
        while not self._stop.is_set():
            try:
                work(rng)
            except psutil.NoSuchProcess:
                continue  # it ended by itself

    def _away(self, what: str, node: str, after: float, down_s: float) -> None:
        """Take something away after a while, and bring it back after another."""
        if self._stop.wait(after):
            return
        self._cluster.tell(f"kill {what} {node} for {down_s:.0f} s")
        self._cluster.do(f"kill-{what}", node)
        self._cluster.done[what] += 1
        self._stop.wait(down_s)
        while True:
            try:
                return self._cluster.do(f"start-{what}", node)
            except subprocess.CalledProcessError:
                # slurmctld does not start while slurmdbd is away.
                self._cluster.tell(f"{what} {node} did not start")
                time.sleep(5)

    def _controller(self, rng: random.Random) -> None:
        self._away("controller", "", rng.uniform(30, 120), rng.uniform(1, 25))

    def _accounts(self, rng: random.Random) -> None:
        self._away("accounts", "", rng.uniform(40, 150), rng.uniform(5, 75))

    def _node(self, rng: random.Random, node: str) -> None:
        what = rng.choice(("node", "slurmd"))
        self._away(what, node, rng.uniform(60, 240), rng.uniform(3, 40))

    def _task(self, rng: random.Random) -> None:
        """Kill a task or its server with -9, or have Slurm cancel one."""
        if self._stop.wait(rng.uniform(4, 16)):
            return
        what = rng.choice(("task", "task", "server", "cancel"))
        if what == "cancel":
            told = self._cluster.ask("squeue", "-h", "-r", "-t", "R", "-o", "%i") or ""
            if running := told.split():
                self._cluster.ask("scancel", rng.choice(running))
                self._cluster.done["scancel"] += 1
            return
        words = {"task": "-m slurm.job.task ", "server": "-m servers.simulated "}[what]
        found = list(processes(words, self._cluster.state))
        if found:
            rng.choice(found).send_signal(signal.SIGKILL)
            self._cluster.done[what] += 1


class Watch:
    """Looks whether the queue has two tasks of one server group at a time."""

    def __init__(self, cluster: Cluster, root: Path) -> None:
        self._cluster, self._root = cluster, root
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.doubled: set[str] = set()
        self.looks = 0

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        groups: dict[str, list[str]] = {}
        while not self._stop.wait(2.0):
            told = self._cluster.ask("squeue", "-h", "-r", "-t", "PD,R,CG", "-o", "%j|%K|%i")
            if told is None:
                continue
            self.looks += 1
            rows = [line.split("|") for line in told.splitlines()]
            at: dict[str, list[str]] = {}
            for name, index, task in rows:
                if index.isdecimal():
                    at.setdefault(_group(self._root, groups, name, int(index)), []).append(task)
            for group, tasks in at.items():
                if len(tasks) > 1 and group not in self.doubled:
                    self.doubled.add(group)
                    self._cluster.tell(f"twice in the queue: {group}: {' '.join(tasks)}")


def _group(root: Path, known: dict[str, list[str]], name: str, index: int) -> str:
    """The server group of an array's task, from what its submission wrote down."""
    if name not in known:
        token = name.split("-")[1]
        document = json.loads((root / "slurm" / token / "submission.json").read_text())
        for array in document["arrays"]:
            known[array["name"]] = [task["group_id"] for task in array["tasks"]]
    return known[name][index]
