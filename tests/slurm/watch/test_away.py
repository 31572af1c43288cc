"""Each part of Slurm away at each step: nothing is submitted twice, and what is unknown is said."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from catalog.errors import ClusterError
from moeserve.cli.slurm_submit import SubmitRequest, retry_missing, submit_study
from slurm.scheduler.parse import JobInfo
from slurm.submit.submission import SubmissionStore
from slurm.watch.cancel import cancel
from slurm.watch.collect import collect
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import SMALL, look, program, states, submit

pytestmark = pytest.mark.usefixtures("hurried")

PARTS = ("squeue", "sacct", "scontrol", "sbatch", "slurmctld", "slurmdbd")


def tasks_of(cluster: MemorySlurm) -> int:
    """How many tasks Slurm was ever given."""
    return sum(len(job.tasks) for job in cluster._jobs.values())


@pytest.mark.parametrize("part", PARTS)
def test_a_study_that_waits_is_never_queued_again(tmp_path: Path, part: str) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.away = {part}
    try:
        assert submit(cluster, tmp_path) == []
    except ClusterError as error:
        assert "\n" not in str(error)
        assert part in ("squeue", "scontrol", "slurmctld")
    assert tasks_of(cluster) == 3


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_study_whose_tasks_are_lost_waits_for_who_can_say_so(tmp_path: Path, part: str) -> None:
    """Two tasks have left the queue for the accounts alone, one still waits."""
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.forget(1, 0, "NODE_FAIL")
    cluster.forget(1, 1, "TIMEOUT")
    cluster.away = {part}
    with pytest.raises(ClusterError) as refused:
        submit(cluster, tmp_path)
    assert "\n" not in str(refused.value)
    assert tasks_of(cluster) == 3
    if part in ("sacct", "slurmdbd"):
        assert "2 of 3 tasks" in str(refused.value)
        assert states(cluster, tmp_path) == [("unknown", ""), ("unknown", ""), ("pending", "")]
    with pytest.raises(ClusterError):
        asyncio.run(
            retry_missing(tmp_path, collect(tmp_path, look(cluster, tmp_path)), slurm=cluster)
        )
    assert tasks_of(cluster) == 3
    cluster.away = set()
    assert [row["tasks"] for row in submit(cluster, tmp_path)] == [2]


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_what_was_published_needs_nobody_s_word(tmp_path: Path, part: str) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.work(program)
    cluster.away = {part}
    assert states(cluster, tmp_path) == [("done", "")] * 3
    assert collect(tmp_path, look(cluster, tmp_path)).missing == 0


def test_the_queue_s_word_is_enough_while_it_has_every_task(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.away = {"slurmdbd"}
    found = look(cluster, tmp_path)
    assert ([each.state for each in found.tasks], found.silent) == (["pending"] * 3, ())


def test_a_task_that_nobody_has_any_more_is_gone_and_done_again(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster._jobs.clear()
    assert states(cluster, tmp_path) == [("gone", "NO_RECORD")] * 3
    assert len(collect(tmp_path, look(cluster, tmp_path)).retry) == 3


def test_accounts_that_lag_do_not_let_a_queued_task_be_queued_twice(tmp_path: Path) -> None:
    """Slurm has queued a lost task again; the accounts still hold how it was lost."""
    cluster = MemorySlurm()
    submit(cluster, tmp_path, SubmitRequest(SMALL, {"requeue": True}))
    cluster.forget(1, 0, "NODE_FAIL")
    cluster.away = {"squeue"}
    assert states(cluster, tmp_path)[0] == ("unknown", "NODE_FAIL")
    with pytest.raises(ClusterError, match="nothing was collected"):
        collect(tmp_path, look(cluster, tmp_path))


def test_a_submission_cut_short_goes_on_only_once_slurm_can_say_what_it_took(
    tmp_path: Path,
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    next(tmp_path.glob("slurm/*/jobs/*.json")).unlink()
    for index in range(3):
        cluster.forget(1, index, "NODE_FAIL")
    cluster.away = {"slurmdbd"}
    with pytest.raises(ClusterError, match="3 of 3 tasks"):
        submit(cluster, tmp_path)
    assert tasks_of(cluster) == 3


@pytest.mark.parametrize("part", ["squeue", "slurmctld", "scancel"])
def test_cancel_says_that_it_could_not(tmp_path: Path, part: str) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.away = {part}
    with pytest.raises(ClusterError, match="refused"):
        asyncio.run(cancel(cluster, SubmissionStore(tmp_path)))
    assert tasks_of(cluster) == 3


def test_a_task_that_only_the_accounts_call_running_is_done_again(tmp_path: Path) -> None:
    """A controller that was killed had forgotten it, and nobody told the accounts of its end."""
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.forget(1, 1, "RUNNING")
    cluster.away = {"squeue"}
    assert states(cluster, tmp_path)[1] == ("running", ""), "the accounts are all there is"
    cluster.away = set()
    assert states(cluster, tmp_path)[1] == ("gone", "NO_RECORD")
    assert [row["tasks"] for row in submit(cluster, tmp_path)] == [1]


def test_a_task_submitted_between_the_two_questions_is_in_the_queue(tmp_path: Path) -> None:
    class Late(MemorySlurm):
        """Its queue does not have the second task when it is asked first."""

        asked = 0

        async def queue(self, names: Sequence[str] = ()) -> list[JobInfo]:
            listed = await super().queue(names)
            self.asked += 1
            return [info for info in listed if self.asked > 1 or info.task.task != 1]

    cluster = Late()
    request = SubmitRequest(SMALL)
    asyncio.run(submit_study(request, tmp_path, dry_run=False, slurm=cluster))
    cluster.asked = 0
    assert {state for state, _ in states(cluster, tmp_path)} == {"pending"}
