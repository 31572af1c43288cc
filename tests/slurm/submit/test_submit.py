"""Submissions to the Slurm in memory: what is asked of it, once, whatever becomes of the answer."""

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from catalog.errors import ClusterError, ResultsError, StorageError
from moeserve.cli.slurm_submit import SubmitRequest, submit_study
from orchestrator.host import files
from orchestrator.results.planned import read_planned
from slurm.submit.options import SubmitOptions
from slurm.submit.plan_elsewhere import remote_plan
from slurm.submit.submission import SubmissionStore
from slurm.submit.submit import SubmitPlan, draft, submit_once
from slurm.watch.collect import collect
from tests.slurm.memory_slurm import DEFAULT_CONFIG, MemorySlurm
from tests.slurm.studies import SMALL, look, program, small, states, submit

pytestmark = pytest.mark.usefixtures("hurried")


def test_the_same_command_again_submits_nothing_that_is_published_or_queued(
    tmp_path: Path,
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    assert submit(cluster, tmp_path) == []
    cluster.work(program)
    assert submit(cluster, tmp_path) == []
    next((tmp_path / "runs").iterdir()).unlink()
    (row,) = submit(cluster, tmp_path)
    assert row["tasks"] == 1


def test_who_looks_on_knows_how_many_runs_were_submitted(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    planned = read_planned(tmp_path)
    assert planned is not None
    cluster.work(program)
    assert set(planned.runs) == {path.stem for path in (tmp_path / "runs").iterdir()}


def test_an_answer_that_is_lost_is_looked_for_and_the_job_not_repeated(tmp_path: Path) -> None:
    cluster = MemorySlurm(forgetful=1)
    (row,) = submit(cluster, tmp_path)
    assert row["job"] == 1
    assert len(asyncio.run(cluster.queue())) == 3


async def test_a_job_that_was_never_taken_is_submitted_again(tmp_path: Path) -> None:
    class FirstLost(MemorySlurm):
        """Loses the first submission on its way."""

        async def submit(self, arguments: Sequence[str]) -> int:
            if not self.silent and not self._jobs and not self.most_at_once:
                self.most_at_once = 1
                self.silent = 1
            return await super().submit(arguments)

    cluster = FirstLost()
    words = ["--job-name=moeserve-x-0", "--array=0-1", "job.sh", "python"]
    assert await submit_once(cluster, "moeserve-x-0", words, since="2026-01-01T00:00:00") == 1


def test_while_slurm_stays_silent_nothing_is_repeated_and_states_are_unknown(
    tmp_path: Path,
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.away = {"slurmctld", "slurmdbd"}
    found = look(cluster, tmp_path)
    assert [each.state for each in found.tasks] == ["unknown"] * 3
    with pytest.raises(ClusterError, match="3 of 3 tasks"):
        collect(tmp_path, found)
    cluster.away = set()
    assert [state for state, _ in states(cluster, tmp_path)] == ["pending"] * 3

    class Dead(MemorySlurm):
        """Takes the job, and then is silent for good."""

        async def submit(self, arguments: Sequence[str]) -> int:
            await super().submit(arguments)
            self.silent = 100
            return await super().submit(arguments)

    with pytest.raises(ClusterError, match="does not say whether"):
        submit(Dead(), tmp_path / "dead")


def test_a_crash_between_sbatch_and_its_record_is_mended_by_the_job_s_name(
    tmp_path: Path,
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    next(tmp_path.glob("slurm/*/jobs/*.json")).unlink()
    assert [each.job for each in look(cluster, tmp_path).tasks] == [1, 1, 1]
    assert submit(cluster, tmp_path) == []


@pytest.mark.parametrize("full", ["planned.json", "submission.json", "jobs"])
def test_a_disk_that_fills_up_is_told_in_a_line_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """Also between sbatch and the record of its job."""
    cluster, write = MemorySlurm(), files._write_beside

    def until_full(path: Path, data: bytes) -> Path:
        if full in path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(files, "_write_beside", until_full)
    with pytest.raises(StorageError, match="DISK_FULL"):
        submit(cluster, tmp_path)
    monkeypatch.undo()
    submit(cluster, tmp_path)
    assert len(asyncio.run(cluster.queue())) == 3


def test_a_submission_of_another_version_is_not_called_damaged(tmp_path: Path) -> None:
    submit(MemorySlurm(), tmp_path)
    (path,) = tmp_path.glob("slurm/*/submission.json")
    path.write_bytes(path.read_bytes().replace(b'"token"', b'"tokens"'))
    with pytest.raises(ResultsError, match="of another version of moeserve: the nodes need the"):
        SubmissionStore(tmp_path).submissions()


@pytest.mark.slow
def test_2500_tasks_are_three_arrays_one_after_the_other_under_a_throttle(tmp_path: Path) -> None:
    many = small(num_runs=833, strategies=("tp", "ep", "tp+ep"))
    cluster = MemorySlurm()
    rows = submit(cluster, tmp_path, SubmitRequest(many, {"max_parallel": 3}))
    assert [row["tasks"] for row in rows] == [1001, 1001, 497]
    ran: list[str] = []
    cluster.work(lambda _, v: ran.append(v["SLURM_ARRAY_TASK_ID"]) or 0)
    assert len(ran) == 2499
    assert cluster.most_at_once == 3


def test_what_does_not_fit_the_queue_is_held_back_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = MemorySlurm()
    (row,) = submit(cluster, tmp_path, SubmitRequest(SMALL, {"max_submit": 2}))
    assert row["tasks"] == 2
    assert "1 tasks do not fit" in capsys.readouterr().err
    cluster.work(program)
    (row,) = submit(cluster, tmp_path, SubmitRequest(SMALL, {"max_submit": 2}))
    assert row["tasks"] == 1


def test_different_needs_become_different_arrays(tmp_path: Path) -> None:
    site = {
        "gpus": {
            "A100-80GB": {"type": "a100", "constraint": "gpu80g", "per_node": 4},
            "A100-40GB": {"type": "a100", "constraint": "gpu40g", "per_node": 4},
        },
        "hardware": "A100-80GB",
    }
    mixed = small(engine="vllm", hardware={"default": "A100-80GB", "tp+ep": "A100-40GB"})
    submit(MemorySlurm(), tmp_path, SubmitRequest(mixed, site))
    arrays = SubmissionStore(tmp_path).submissions()[0].arrays
    asked = sorted(
        tuple(w for w in array.arguments if w.startswith(("--gres", "--constraint")))
        for array in arrays
    )
    assert asked == [
        ("--constraint=gpu40g", "--gres=gpu:a100:4"),
        ("--constraint=gpu80g", "--gres=gpu:a100:2"),
    ]
    assert all(task.expected_s and task.expected_s > 100 for a in arrays for task in a.tasks)


def test_nothing_secret_travels_with_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "hf_canary0123456789"
    for name in ("HF_TOKEN", "MOESERVE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, canary)
    cluster = MemorySlurm()
    submit(cluster, tmp_path, SubmitRequest(SMALL, then=("collect", "report")))
    cluster.work(lambda c, v: program(c, v) if "slurm.job.task" in c else 0)
    for submission in SubmissionStore(tmp_path).submissions():
        for array in submission.arrays:
            exported = next(w for w in array.arguments if w.startswith("--export="))
            assert not any(secret in exported for secret in ("TOKEN", "KEY", "ALL"))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or canary.encode() not in path.read_bytes()


def test_a_draft_asks_for_no_gpus_that_nobody_uses(tmp_path: Path) -> None:
    plan, engine = asyncio.run(remote_plan(SMALL, SubmitOptions()))
    for rehearse, gres in ((False, set()), (True, {"--gres=gpu:2", "--gres=gpu:4"})):
        options = SubmitOptions(rehearse=rehearse)
        made = draft(
            SubmitPlan(plan, engine, options, tmp_path), plan.groups, DEFAULT_CONFIG, queued=0
        )
        words = {w for array in made.submission.arrays for w in array.arguments}
        assert {word for word in words if word.startswith("--gres")} == gres


def test_a_dry_run_needs_no_slurm_and_says_what_it_did_not_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    request, root = SubmitRequest(SMALL), tmp_path / "out"
    (row,) = asyncio.run(submit_study(request, root, dry_run=True))
    assert (row["tasks"], root.exists()) == (3, False)
    told = capsys.readouterr().err
    assert "planned without Slurm (no Slurm here" in told
    assert "as if nothing were in the queue" in told
    assert "sbatch --parsable --job-name=" in told
    (row,) = asyncio.run(
        submit_study(request, root, dry_run=True, slurm=MemorySlurm(away={"slurmctld"}))
    )
    assert row["tasks"] == 3
    with pytest.raises(ClusterError, match="no Slurm here"):
        asyncio.run(submit_study(request, root, dry_run=False))
    assert not root.exists()
