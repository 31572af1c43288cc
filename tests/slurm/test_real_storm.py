"""Everything at one time: a node without power, a task cancelled, the accounts away for a while."""

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.results.manifests import read_manifests
from orchestrator.verify import verify_directory
from tests.machine import until

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.usefixtures("no_process_left")]

SHAPE = {"NET": "ns", "ACCT": "dbd", "NODES": "3", "CPUS": "2", "KILL_WAIT": "10"}
AWAY_S = float(os.environ.get("MOESERVE_TEST_AWAY_S", "15"))
"""How long there are no accounts; the figures in docs/reliability.md are of a minute."""
TASKS, RUNS = 24, 48


def study(folder: Path) -> Path:
    """Write an experiment of 24 tasks with two runs each, on servers of real processes."""
    (folder / "scratch").mkdir()
    document = {
        "models": ["OLMoE-1B-7B"],
        "strategies": ["tp", "ep", "tp4", "tp+ep"],
        "workloads": ["16:32:8"],
        "concurrency": "4,8",
        "num_runs": 6,
        "engine": "vllm",
        "server": {
            "command": [sys.executable, "-P", "-m", "servers.simulated"],
            "args": ["--hardware", "A100-80GB", "--fault", "slow-factor=4"],
            "env": {"MOESERVE_TEST": str(folder)},
        },
        "slurm": {"memory": "1G", "cpus": 1, "time": "10", "scratch": str(folder / "scratch"),
                  "export": ["PYTHONPATH"]},
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(json.dumps(document))
    return path


def running(cluster: Any, *on: str) -> list[str]:
    """Tasks that run on these nodes."""
    told = cluster.slurm("squeue", "-h", "-r", "-t", "R", "-o", "%i", "-w", ",".join(on))
    return list(told.split())


def shared_memory(cluster: Any, node: str) -> list[str]:
    """Names in a node's own shared memory."""
    parent = psutil.Process(int((cluster.state / "run" / f"{node}.pid").read_text()))
    own = Path(f"/proc/{parent.children()[0].pid}/root/dev/shm")
    return [path.name for path in own.iterdir()]


def test_24_tasks_are_done_once_each_whatever_of_the_cluster_goes_away(
    cluster: Any, tmp_path: Path
) -> None:
    root, began = tmp_path / "out", time.monotonic()
    (row,) = cluster.submit(str(study(tmp_path)), "-o", str(root))
    assert row["tasks"] == TASKS
    until(lambda: running(cluster, "node3") and running(cluster, "node1", "node2"), 60)
    until(lambda: list((root / "attempts").iterdir()), 60)
    cluster.do("kill-accounts")
    away = time.monotonic()
    cluster.do("kill-node", "node3")
    cluster.slurm("scancel", running(cluster, "node1", "node2")[0])
    # While it is not known where a task is, this says so and does nothing; else it goes on.
    cluster.moeserve("collect", str(root), "--retry", codes=(3, 5))
    time.sleep(max(0.0, AWAY_S - (time.monotonic() - away)))
    cluster.do("start-accounts")
    rounds = 1
    while cluster.moeserve("collect", str(root), "--retry", codes=(0, 5)).returncode:
        rounds += 1
        assert rounds < 5, cluster.tasks(root)
        cluster.until_over()
    cluster.do("start-node", "node3")
    records = [m.record for m in read_manifests(root) if m.files]
    assert len(records) == len({record.run_id for record in records}) == RUNS
    assert verify_directory(root) == []
    # Only what was cut off was begun again: no task ran beside another of its server group.
    submitted = Counter(
        task["group_id"]
        for path in root.glob("slurm/*/submission.json")
        for array in json.loads(path.read_text())["arrays"]
        for task in array["tasks"]
    )
    told = [path.read_text() for path in root.glob("slurm/*/tasks/*.jsonl")]
    begun = sum(journal.count('"run_started"') for journal in told)
    again = sum(submitted.values()) - TASKS
    assert len(submitted) == TASKS
    assert 2 <= again <= 5, "two or three tasks were cut off, one or two of them on the node"
    assert begun <= RUNS + again
    assert list((tmp_path / "scratch").iterdir()) == []
    assert [shared_memory(cluster, node) for node in ("node1", "node2")] == [[], []]
    print(f"{time.monotonic() - began:.0f} s, accounts away {AWAY_S:g} s, {rounds} collections, ")
    print(f"{again} tasks submitted again, {begun} runs begun, {len(records)} published")
