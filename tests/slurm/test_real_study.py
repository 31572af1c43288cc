"""Whole studies as arrays on a real Slurm, and a submission that does not go smoothly."""

import json
import shutil
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.results.manifests import read_manifests

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.usefixtures("no_process_left")]

SHAPE = {"MAX_ARRAY": "8", "NODES": "2"}
ROOT = Path(__file__).parent.parent.parent
SMALL = ("--engine", "simulated", "--strategy", "tp,ep", "-w", "16:8:6", "-c", "1,4",
         "--memory", "1G")  # fmt: skip


def assert_all_once(root: Path, runs: int) -> None:
    """Every run was published, by one attempt, and none was begun by two."""
    published = [m.record for m in read_manifests(root)]
    assert {record.verdict for record in published} == {"valid"}
    assert len({record.run_id for record in published}) == len(published) == runs
    assert len(list((root / "attempts").iterdir())) == runs


def spans(root: Path) -> list[tuple[datetime, datetime]]:
    """From when to when each attempt at a task ran."""
    found = []
    for path in root.glob("slurm/*/tasks/*.jsonl"):
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        times = [datetime.fromisoformat(entry["at"]) for entry in entries]
        found.append((min(times), max(times)))
    return found


def test_the_study_of_189_runs_as_arrays_with_a_report_by_a_dependent_job(
    cluster: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    study = str(ROOT / "examples" / "slurm_study.yaml")
    rows = cluster.submit(study, "-o", str(root), "--then", "collect,report")
    assert [(row.get("gres"), row.get("tasks")) for row in rows] == [
        ("gpu:a100:2", 6),
        ("gpu:a100:4", 3),
        (None, None),
        (None, None),
    ]
    cluster.until_over()
    assert_all_once(root, 189)
    cluster.assert_all_done(root)
    assert "<html" in (root / "report.html").read_text().lower()
    collected = next(root.glob("slurm/*/logs/collect.log")).read_text()
    assert "189" in collected
    again = cluster.moeserve("submit", study, "-o", str(root), "--format", "json")
    assert json.loads(again.stdout) == []
    assert "nothing to submit" in again.stderr


def test_2500_cells_over_the_largest_array_under_a_throttle(cluster: Any, tmp_path: Path) -> None:
    root = tmp_path / "out"
    words = ("--engine", "simulated", "-m", "OLMoE-1B-7B", "-s", "tp,ep,tp4,tp2+dp2+ep,dp4+ep",
             "-w", "8:2:1", "-c", "1..126:+1", "--num-runs", "4", "--memory", "1G")  # fmt: skip
    rows = cluster.submit(*words, "-o", str(root), "--max-parallel", "3")
    assert [row["tasks"] for row in rows] == [8, 8, 4]
    cluster.until_over(240)
    assert_all_once(root, 2520)
    ran = spans(root)
    assert len(ran) == 20
    assert max(sum(a <= start < b for a, b in ran) for start, _ in ran) <= 3


def test_a_submission_that_timed_out_though_slurm_took_it_is_not_repeated(
    cluster: Any, tmp_path: Path
) -> None:
    shim = tmp_path / "bin" / "sbatch"
    shim.parent.mkdir()
    real = shutil.which("sbatch")
    # Takes the job, and says what Slurm says when its answer is lost.
    shim.write_text(
        f'#!/bin/sh\n{real} "$@" >/dev/null\necho x >> {tmp_path}/calls\n'
        'echo "sbatch: error: Batch job submission failed: '
        'Socket timed out on send/recv operation" >&2\nexit 1\n'
    )
    shim.chmod(0o755)
    root = tmp_path / "out"
    rows = cluster.submit(*SMALL, "-o", str(root), path=str(shim.parent))
    assert (tmp_path / "calls").read_text() == "x\n"
    assert str(rows[0]["job"]) in cluster.slurm("squeue", "-h", "-t", "all", "-o", "%F").split()
    cluster.until_over()
    assert_all_once(root, 4)


def test_a_controller_that_restarts_while_we_submit_and_ask_loses_nothing(
    cluster: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    pid = int((cluster.state / "run" / "slurmctld.pid").read_text())
    subprocess.run(["kill", "-STOP", str(pid)], check=True)

    def restart() -> None:
        time.sleep(4)
        cluster.do("restart-controller")

    restarting = threading.Thread(target=restart)
    restarting.start()
    try:
        cluster.submit(*SMALL, "-o", str(root))
    finally:
        restarting.join()
    again = threading.Thread(target=cluster.do, args=("restart-controller",))
    again.start()
    states = {task["state"] for task in cluster.tasks(root)}
    again.join()
    assert states <= {"pending", "running", "done", "unknown"}
    cluster.until_over()
    cluster.assert_all_done(root)
    assert_all_once(root, 4)


def test_a_silent_controller_leaves_states_unknown_and_results_known(
    cluster: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    cluster.submit(*SMALL, "-o", str(root))
    cluster.until_over()
    shim = tmp_path / "bin"
    shim.mkdir()
    for name in ("squeue", "sacct"):
        (shim / name).write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1")
        (shim / name).chmod(0o755)
    next((root / "runs").iterdir()).unlink()
    told = cluster.moeserve("status", str(root), "--format", "json", path=str(shim))
    assert sorted(row["state"] for row in json.loads(told.stdout)) == ["done", "unknown"]
    next(root.glob("slurm/*/tasks/*.jsonl")).unlink()
    next(root.glob("slurm/*/tasks/*.jsonl")).unlink()
    told = cluster.moeserve("status", str(root), "--format", "json", path=str(shim))
    assert sorted(row["state"] for row in json.loads(told.stdout)) == ["done", "unknown"]
    before = cluster.slurm("squeue", "-h", "-t", "all", "-o", "%A")
    refused = cluster.moeserve("collect", str(root), "--retry", codes=(3,), path=str(shim))
    assert "whether 1 of 2 tasks wait, run or have ended" in refused.stderr
    assert cluster.slurm("squeue", "-h", "-t", "all", "-o", "%A") == before


def test_slurm_takes_hostile_values_as_the_text_they_are(cluster: Any, tmp_path: Path) -> None:
    for number, hostile in enumerate(
        ("$(touch PWNED)", "`touch PWNED`", "a'b\"c;touch PWNED", "x y")
    ):
        root = tmp_path / f"out {number} {hostile}"
        words = ("-o", str(root), f"--sbatch=--wckey={hostile}")
        cluster.submit(*SMALL, *words, "-s", "tp", "-c", "1")
    cluster.until_over()
    outs = list(tmp_path.glob("out *"))
    assert len(outs) == 4
    assert all(len(list((out / "runs").iterdir())) >= 1 for out in outs)
    assert not list(tmp_path.rglob("PWNED"))
    assert not list(Path.cwd().glob("PWNED"))


def test_an_impossible_request_is_refused_in_slurm_s_words(cluster: Any, tmp_path: Path) -> None:
    words = (*SMALL, "-o", str(tmp_path / "out"), "--partition", "nosuch")
    told = cluster.moeserve("submit", *words, codes=(3,))
    assert "invalid partition" in told.stderr
    assert len(told.stderr.splitlines()) <= 2
    assert sys.executable not in told.stderr
