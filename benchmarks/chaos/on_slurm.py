"""A study as Slurm array jobs while tasks, servers, nodes and Slurm's daemons are killed at random.

Example: python benchmarks/chaos/on_slurm.py --minutes 30

Needs root and Slurm's daemons, as the tests that are marked `slurm`. A user, who has no patience,
says `collect --retry` or `submit` (twice at one time) again and again meanwhile. Then everything is
put right, `collect --retry` is said until nothing is missing, and it is counted: ends with 0 when
every run was published once and `verify` finds nothing, no server group was in the queue twice,
and no process or file of a task is left. Prints one line a fault, and the counts as JSON.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))

from faults import Chaos, Cluster, Watch, processes

from orchestrator.results.manifests import read_manifests
from orchestrator.results.store import Store
from orchestrator.verify import verify_directory
from slurm.submit.submission import SubmissionStore

MODELS = ("OLMoE-1B-7B", "Mixtral-8x7B", "Qwen1.5-MoE-A2.7B", "DeepSeek-V2-Lite", "Qwen3-30B-A3B")
LAYOUTS = ("tp2", "tp4", "tp8", "dp2+ep", "dp4+ep", "dp8+ep", "tp2+dp2+ep", "tp2+dp4+ep",
           "tp4+dp2+ep", "tp2+ep", "tp4+ep", "tp8+ep", "pp2", "pp2+tp2", "pp2+tp4", "pp4",
           "pp4+tp2", "pp2+dp2+ep", "dp2", "dp4")  # fmt: skip
NODES = 3
SHAPE = {"NET": "ns", "ACCT": "dbd", "NODES": str(NODES), "CPUS": "2", "MEM": "6000", "GPUS": "1",
         "SUBNET": "10.79.7", "BASE_PORT": "29400"}  # fmt: skip
LOCKS = f"moeserve-ports-{os.getuid()}"
"""A folder that stays: the user's processes agree in it on ports."""
SAID = (["collect"], ["collect"], ["submit", "submit"], ["submit", "collect"])
EXPECTED = {0, 3, 5}
"""Exit codes of commands in a storm: done, no Slurm, not all runs there."""


def study(folder: Path, cells: int, slow: float) -> Path:
    """Write a study of 100 server groups, each measured by real processes in real time."""
    document = {
        "name": "chaos",
        "models": MODELS,
        "strategies": LAYOUTS,
        "workloads": ["16:32:24"],
        "concurrency": f"4..{3 + cells // 100}:+1",
        "engine": "vllm",
        "server": {
            "command": [sys.executable, "-P", "-m", "servers.simulated"],
            "args": ["--hardware", "A100-80GB", "--fault", f"slow-factor={slow:g}"],
            "env": {"MOESERVE_CHAOS": str(folder)},
        },
        "slurm": {"memory": "1G", "cpus": 1, "time": "20", "scratch": str(folder / "scratch"),
                  "signal_lead_s": 10, "export": ["PYTHONPATH", "TMPDIR"]},
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(json.dumps(document))
    return path


class User:
    """Says commands of moeserve's, and counts how they end."""

    def __init__(self, cluster: Cluster, document: Path, root: Path) -> None:
        self._cluster, self._document, self._root = cluster, document, root
        self.codes: Counter[str] = Counter()
        self.faults: list[str] = []

    def say(self, command: str) -> int:
        words = [str(self._root), "--retry"] if command == "collect" else [
            str(self._document), "-o", str(self._root)]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-P", "-m", "moeserve", "slurm", command, *words],
            env=self._cluster.environment, capture_output=True, text=True,
        )  # fmt: skip
        self.codes[f"{command} {done.returncode}"] += 1
        again = [line for line in done.stderr.splitlines() if "submitted again" in line]
        self._cluster.tell(f"{command}: {done.returncode} {' '.join(again)}")
        if done.returncode not in EXPECTED:
            self.faults.append(f"{command}: {done.returncode}: {done.stderr[-2000:]}")
            self._cluster.tell(self.faults[-1])
        return done.returncode

    def hurry(self, stop: threading.Event, rng: random.Random) -> None:
        """Say the same again and again, some of it twice at one time."""
        while not stop.wait(rng.uniform(3, 20)):
            said = rng.choice(SAID)
            threads = [threading.Thread(target=self.say, args=(each,)) for each in said]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def storm(cluster: Cluster, user: User, asked: argparse.Namespace, root: Path) -> float:
    """Let the study run under faults for the time asked or until it is done; return minutes."""
    stop, rng = threading.Event(), random.Random(f"user {asked.seed}")
    hurried = threading.Thread(target=user.hurry, args=(stop, rng))
    hurried.start()
    began = time.monotonic()
    try:
        with Chaos(cluster, nodes=NODES, seed=asked.seed):
            while time.monotonic() - began < 60 * asked.minutes:
                time.sleep(5)
                published = len(Store(root).finished())
                if int(time.monotonic() - began) % 60 < 5:
                    cluster.tell(f"{published} runs published")
                if published == asked.cells:
                    break
            return (time.monotonic() - began) / 60
    finally:
        stop.set()
        hurried.join()


def finish(cluster: Cluster, user: User, limit_s: float = 3600.0) -> int:
    """Collect and submit again until nothing is missing; return how often that took."""
    began, rounds = time.monotonic(), 0
    while time.monotonic() - began < limit_s:
        rounds += 1
        if user.say("collect") == 0:
            break
        while cluster.ask("squeue", "-h") != "" and time.monotonic() - began < limit_s:
            time.sleep(2)
    while cluster.ask("squeue", "-h") != "" and time.monotonic() - began < limit_s:
        time.sleep(2)
    return rounds


def left(cluster: Cluster) -> list[str]:
    """What the study left: processes after up to half a minute, and files that it is to remove."""
    until = time.monotonic() + 30
    while found := [str(process.cmdline()) for process in processes("python", cluster.state)]:
        if time.monotonic() > until:
            break
        time.sleep(0.5)
    places = [cluster.state / "scratch", cluster.state / "tmp"]
    for node in range(NODES):
        parent = (cluster.state / "run" / f"node{node + 1}.pid").read_text()
        init = psutil.Process(int(parent)).children()[0].pid
        places.append(Path(f"/proc/{init}/root/dev/shm"))
    files = [str(path) for place in places for path in place.iterdir()]
    return found + sorted(path for path in files if not path.endswith(LOCKS))


def counts(root: Path, user: User, watch: Watch, cells: int) -> dict[str, object]:
    published = Store(root).finished()
    submissions = SubmissionStore(root).submissions()
    planned = {run.run_id for each in submissions for run in each.plan().runs}
    records = [m.record for m in read_manifests(root) if m.files]
    tasks = list(root.glob("slurm/*/tasks/*.jsonl"))
    return {
        "cells": len({record.cell_id for record in records}),
        "published": len(published),
        "lost": len(planned - published) + (cells - len(planned)),
        "doubled": len(records) - len({record.run_id for record in records}),
        "verdicts": dict(Counter(record.verdict for record in records)),
        "attempts_at_runs": sum(1 for _ in (root / "attempts").iterdir()),
        "submissions": len(submissions),
        "attempts_at_tasks": len(tasks),
        "groups_twice_in_queue": sorted(watch.doubled),
        "looks_at_the_queue": watch.looks,
        "verify": verify_directory(root),
        "commands": dict(user.codes),
        "unexpected_exits": user.faults,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--cells", type=int, default=1000, help="a multiple of 100")
    parser.add_argument("--slow", type=float, default=4.0, help="how much slower than estimated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="the folder with results and logs")
    asked = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="chaos-"))
    state.chmod(0o755)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the cluster is stopped on the way out
    for name in ("scratch", "tmp"):
        (state / name).mkdir()
    own = {"SLURM_CONF": str(state / "slurm.conf"), "HOME": str(state)}
    own |= {"TMPDIR": str(state / "tmp"), "XDG_RUNTIME_DIR": ""}
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    cluster = Cluster(state, {**os.environ, **SHAPE, **own, **path})
    root, document = state / "out", study(state, asked.cells, asked.slow)
    try:
        cluster.do("start")
        user = User(cluster, document, root)
        user.say("submit")
        with Watch(cluster, root) as watch:
            minutes = storm(cluster, user, asked, root)
            published = len(Store(root).finished())
            cluster.tell(f"peace after {minutes:.1f} minutes, {published} published")
            rounds = finish(cluster, user)
        found = {"minutes": round(minutes, 1), "faults": dict(cluster.done), "rounds_after": rounds,
                 **counts(root, user, watch, asked.cells), "left": left(cluster)}  # fmt: skip
        print(json.dumps(found, indent=1), flush=True)
        wrong = ("lost", "doubled", "groups_twice_in_queue", "verify", "unexpected_exits", "left")
        code = int(any(found[each] for each in wrong))
    finally:
        cluster.do("stop")
        if not asked.keep:
            shutil.rmtree(state, ignore_errors=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
