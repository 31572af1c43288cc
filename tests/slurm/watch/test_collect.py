"""Whole studies on the Slurm in memory: submitted, run in this process, looked at, collected."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from moeserve.cli.slurm_submit import retry_missing
from orchestrator.results.manifests import read_manifests
from orchestrator.results.store import Store
from slurm.submit.submission import SubmissionStore
from slurm.watch.collect import collect
from tests.slurm.memory_slurm import DEFAULT_CONFIG, MemorySlurm
from tests.slurm.studies import look, program, states, submit

pytestmark = pytest.mark.usefixtures("hurried")


def test_a_study_submitted_run_and_collected_holds_every_run_once(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    (row,) = submit(cluster, tmp_path)
    assert row["tasks"] == 3
    assert states(cluster, tmp_path) == [("pending", "")] * 3
    cluster.work(program)
    found = look(cluster, tmp_path)
    assert [each.state for each in found.tasks] == ["done"] * 3
    assert {each.node for each in found.tasks} == {"memory1"}
    assert len(Store(tmp_path).finished()) == 6
    collected = collect(tmp_path, found)
    assert (collected.published, collected.missing, collected.recorded, collected.retry) == (
        6,
        0,
        0,
        (),
    )
    attempts = {m.details["slurm"]["attempt"].split(".")[0] for m in read_manifests(tmp_path)}
    assert attempts == {"1_0", "1_1", "1_2"}


def test_a_lost_task_is_recorded_once_and_submitted_again_elsewhere(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)

    def loses_power(command: Sequence[str], variables: Mapping[str, str]) -> int:
        if variables["SLURM_ARRAY_TASK_ID"] != "1":
            return program(command, variables)
        journal = next(tmp_path.glob("slurm/*/tasks"))
        run_id = look(cluster, tmp_path).tasks[1].group.runs[0].run_id
        lines = [{"at": "t", "event": "started", "node": "n7"},
                 {"at": "t", "event": "run_started", "run_id": run_id}]  # fmt: skip
        text = "\n".join(map(json.dumps, lines)) + '\n{"at": "cut o'
        (journal / "1_1.r0.dead.jsonl").write_text(text)
        cluster.set(1, 1, "NODE_FAIL")
        return 0

    cluster.work(loses_power)
    assert states(cluster, tmp_path)[1] == ("failed", "NODE_FAIL")
    collected = collect(tmp_path, look(cluster, tmp_path))
    assert (collected.recorded, collected.missing, collected.bad_nodes) == (1, 2, ("n7",))
    assert collect(tmp_path, look(cluster, tmp_path)).recorded == 0
    failed = [m.record for m in read_manifests(tmp_path) if m.record.verdict == "failed"]
    assert [record.verdict_reasons for record in failed] == ["NODE_FAIL"]
    asyncio.run(retry_missing(tmp_path, collected, slurm=cluster))
    last = SubmissionStore(tmp_path).submissions()[-1]
    assert "--exclude=n7" in last.arrays[0].arguments
    assert len(last.arrays[0].tasks) == 1
    cluster.work(program)
    assert collect(tmp_path, look(cluster, tmp_path)).missing == 0


def test_no_accounts_are_no_obstacle(tmp_path: Path) -> None:
    cluster = MemorySlurm(slurm_config=replace(DEFAULT_CONFIG, accounting=False))
    submit(cluster, tmp_path)
    cluster.work(program)
    assert [state for state, _ in states(cluster, tmp_path)] == ["done"] * 3
