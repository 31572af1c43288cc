"""What goes wrong on clusters, done to a real Slurm: the right class, nothing lost or twice."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.results.manifests import read_manifests
from orchestrator.verify import verify_directory
from tests.machine import until

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.usefixtures("no_process_left")]

SHAPE = {"NET": "ns", "ACCT": "dbd", "NODES": "3", "KILL_WAIT": "10"}
Study = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Write an experiment whose runs take real time on a simulated server behind HTTP."""

    def write(*, prompts: int = 8, name: str = "study", **slurm: Any) -> Path:
        path = tmp_path / f"{name}.yaml"
        document = {
            "name": name,
            "models": ["OLMoE-1B-7B"],
            "strategies": ["tp", "ep"],
            "workloads": [f"16:32:{prompts}"],
            "concurrency": "1,2",
            "engine": "vllm",
            "server": {
                "command": [sys.executable, "-P", "-m", "servers.simulated"],
                "args": ["--hardware", "A100-80GB", "--fault", "slow-factor=8"],
                "env": {"MOESERVE_TEST": str(tmp_path)},
            },
            "slurm": {"memory": "2G", "signal_lead_s": 5, "time": "10", **slurm},
        }
        path.write_text(json.dumps(document))
        return path

    return write


def events(root: Path, event: str) -> list[dict[str, Any]]:
    """All events of this kind in the journals of all attempts."""
    lines = [
        line for path in root.glob("slurm/*/tasks/*.jsonl") for line in path.read_text().split("\n")
    ]
    return [entry for entry in map(json.loads, filter(None, lines)) if entry["event"] == event]


def assert_all_once(root: Path, runs: int = 4) -> None:
    published = [m.record for m in read_manifests(root) if m.record.verdict in ("valid", "invalid")]
    assert len(published) == len({record.run_id for record in published}) == runs
    assert verify_directory(root) == []


def test_a_requeued_task_runs_again_and_nothing_is_published_twice(
    cluster: Any, tmp_path: Path, study: Study
) -> None:
    root = tmp_path / "out"
    (row,) = cluster.submit(str(study(requeue=True)), "-o", str(root))
    until(lambda: len(events(root, "run_started")) >= 2, 90)
    cluster.slurm("scontrol", "requeue", f"{row['job']}_0")

    # Not in the second in which it was told to end: a node refuses the credential of that second.
    def start_soon() -> bool:
        told = cluster.slurm("squeue", "-h", "-r", "-o", "%i %T", "-j", str(row["job"]))
        if f"{row['job']}_0 PENDING" in told:
            cluster.slurm("scontrol", "update", f"JobId={row['job']}_0", "StartTime=now+3")
            return True
        return False

    until(start_soon, 30)
    cluster.until_over()
    cluster.assert_all_done(root)
    assert {task["attempts"] for task in cluster.tasks(root)} == {1, 2}
    # The first incarnation was told to end, and published nothing after that.
    ended = {entry["verdict"] for entry in events(root, "ended")}
    assert ended == {"terminated", "done"}
    assert_all_once(root)


def test_a_task_on_a_node_that_loses_power_is_done_again_elsewhere(
    cluster: Any, tmp_path: Path, study: Study
) -> None:
    root = tmp_path / "out"
    cluster.submit(str(study(prompts=20)), "-o", str(root), "--sbatch=--nodelist=node3")
    until(lambda: len(events(root, "run_started")) >= 2, 90)
    cluster.do("kill-node", "node3")
    cluster.slurm("scontrol", "update", "NodeName=node3", "State=DOWN", "Reason=test")
    until(lambda: all(t["state"] == "failed" for t in cluster.tasks(root)), 60)
    assert {task["failure"] for task in cluster.tasks(root)} == {"NODE_FAIL"}
    told = cluster.moeserve("collect", str(root), "--format", "json", codes=(5,))
    (first,) = json.loads(told.stdout)
    assert first["bad_nodes"] == "node3"
    failed = {m.record.verdict_reasons for m in read_manifests(root) if m.record.error}
    assert failed == {"NODE_FAIL"}
    told = cluster.moeserve("collect", str(root), "--format", "json", codes=(5,))
    (again,) = json.loads(told.stdout)
    assert (first["failures_recorded"], again["failures_recorded"]) == (2, 0)
    # Without --nodelist: the lost node is named in --exclude, and both together are impossible.
    cluster.submit(str(study(prompts=20)), "-o", str(root), "--sbatch=--exclude=node3")
    cluster.until_over()
    cluster.do("start-node", "node3")
    cluster.moeserve("collect", str(root))
    assert_all_once(root)


def test_a_task_near_its_time_limit_ends_itself_and_the_rest_is_submitted_again(
    cluster: Any, tmp_path: Path, study: Study
) -> None:
    root = tmp_path / "out"
    (row,) = cluster.submit(str(study(prompts=400, signal_lead_s=20)), "-o", str(root))
    until(lambda: len(events(root, "run_started")) >= 2, 90)
    # Slurm looks at its jobs every 30 s: with less than that the warning and the end are one.
    soon = cluster.slurm("date", "-d", "+55sec", "+%FT%T").strip()
    cluster.slurm("scontrol", "update", f"JobId={row['job']}", f"EndTime={soon}")
    cluster.until_over(120)
    tasks = cluster.tasks(root)
    assert {(task["state"], task["failure"]) for task in tasks} == {("failed", "TIME_LIMIT")}
    assert "SIGUSR2" in {entry["text"] for entry in events(root, "told")}
    assert {entry["verdict"] for entry in events(root, "ended")} == {"interrupted"}
    assert {m.record.verdict for m in read_manifests(root)} == {"interrupted"}


def test_a_cancelled_task_stops_no_other_and_is_submitted_again_by_itself(
    cluster: Any, tmp_path: Path, study: Study
) -> None:
    root = tmp_path / "out"
    (row,) = cluster.submit(str(study()), "-o", str(root), "--rounds", "1", "--then", "report")[:1]
    until(lambda: len(events(root, "run_started")) >= 2, 90)
    cluster.slurm("scancel", f"{row['job']}_1")
    cluster.until_over()
    cluster.assert_all_done(root)
    assert {entry["verdict"] for entry in events(root, "ended")} == {"done", "terminated"}
    first, second = sorted(root.glob("slurm/*/logs/collect.log"))
    assert "cancelled" in first.read_text() or "CANCELLED" in first.read_text()
    assert "submitted again" in first.read_text()
    assert "submitted again" not in second.read_text()
    cluster.moeserve("collect", str(root))
    assert_all_once(root)
    # The report that waited behind the first round was taken back: this one has seen them all.
    assert len(list(root.glob("slurm/*/logs/report.log"))) == 1
    assert "Not the whole study" not in (root / "report.html").read_text()


def test_a_task_killed_for_memory_says_so(cluster: Any, tmp_path: Path, study: Study) -> None:
    root = tmp_path / "out"
    cluster.submit(str(study(prompts=40, memory="130M")), "-o", str(root))
    cluster.until_over()
    failures = {task["failure"] for task in cluster.tasks(root)}
    assert failures == {"OUT_OF_MEMORY"}
    assert list((root / "runs").iterdir()) == []


def test_cancel_ends_all_jobs_of_a_directory_and_nobody_else_s(
    cluster: Any, tmp_path: Path, study: Study
) -> None:
    root = tmp_path / "out"
    foreign = cluster.slurm("sbatch", "--parsable", "--wrap", "sleep 60", "--output=/dev/null")
    cluster.submit(str(study(prompts=100)), "-o", str(root), "--then", "collect,report")
    until(lambda: len(events(root, "run_started")) >= 2, 90)
    cluster.moeserve("cancel", str(root))
    assert cluster.slurm("squeue", "-h", "-o", "%A").split() == [foreign.strip()]
    cluster.slurm("scancel", foreign.strip())
    assert {entry["verdict"] for entry in events(root, "ended")} == {"terminated"}
    assert {task["failure"] for task in cluster.tasks(root)} == {"CANCELLED"}


def test_a_study_that_waits_is_not_queued_again_while_the_accounts_are_away(
    cluster: Any, tmp_path: Path, study: Study
) -> None:
    root = tmp_path / "out"
    waits = str(study(sbatch=["--begin=now+1hour"]))
    (row,) = cluster.submit(waits, "-o", str(root))
    cluster.do("kill-accounts")
    try:
        assert cluster.submit(waits, "-o", str(root)) == []
        assert {task["state"] for task in cluster.tasks(root)} == {"pending"}
        # Cancelled tasks stay in the queue's answers for a while: known without the accounts.
        cluster.slurm("scancel", str(row["job"]))
        assert {task["state"] for task in cluster.tasks(root)} == {"cancelled"}
        # A job that the queue has not got: only the accounts can say that it ended long ago.
        for path in root.glob("slurm/*/jobs/*.json"):
            path.write_text(path.read_text().replace(f'"job":{row["job"]}', '"job":4000000'))
        refused = cluster.moeserve("submit", waits, "-o", str(root), codes=(3,))
        assert "2 of 2 tasks" in refused.stderr
        refused = cluster.moeserve("collect", str(root), "--retry", codes=(3,))
        assert "nothing was collected" in refused.stderr
        assert not cluster.slurm("squeue", "-h").strip()
    finally:
        cluster.do("start-accounts")


def test_two_live_attempts_after_a_network_cut_give_one_result(
    cluster: Any, tmp_path: Path, study: Study
) -> None:
    root = tmp_path / "out"
    one = study(prompts=200, requeue=True, sbatch=["--exclude=node2,node3"])
    (row,) = cluster.submit(str(one), "-o", str(root), "--strategy", "ep", "-c", "2")
    until(lambda: len(events(root, "run_started")) == 1, 90)
    cluster.do("cut", "node1")

    try:
        job = f"{row['job']}_0"

        def requeued() -> bool:
            return "PENDING" in cluster.slurm("squeue", "-h", "-r", "-o", "%T", "-j", job)

        until(requeued, 90)
        cluster.slurm("scontrol", "update", f"JobId={job}", "ExcNodeList=node1", "StartTime=now")
        until(lambda: len(events(root, "run_started")) == 2, 60)
        assert len(events(root, "ended")) == 0
        until(lambda: len(events(root, "ended")) == 2, 150)
    finally:
        cluster.do("heal", "node1")
    nodes = {entry["node"] for entry in events(root, "started")}
    assert len(nodes) == 2
    assert len(list((root / "runs").iterdir())) == 1
    lost = [path.read_text() for path in (root / "failed").glob("*.json")]
    assert len(lost) == 1
    assert "SUPERSEDED" in lost[0]
    assert_all_once(root, 1)
