"""What is not found by its name is not gone: another cluster's, another user's, a renamed job."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.errors import ClusterError
from slurm.submit.submission import SubmissionStore
from slurm.watch.cancel import cancel
from slurm.watch.collect import collect
from tests.slurm.memory_slurm import DEFAULT_CONFIG, MemorySlurm
from tests.slurm.studies import look, program, states, submit

pytestmark = pytest.mark.usefixtures("hurried")


def another() -> MemorySlurm:
    return MemorySlurm(replace(DEFAULT_CONFIG, cluster="h100"))


def test_a_study_that_waits_on_one_cluster_is_not_queued_on_another_too(tmp_path: Path) -> None:
    cluster, other = MemorySlurm(), another()
    submit(cluster, tmp_path)
    with pytest.raises(ClusterError, match="on the cluster memory, and this is h100") as refused:
        submit(other, tmp_path)
    assert "SLURM_CLUSTERS=memory" in str(refused.value)
    assert not other._jobs
    assert [state for state, _ in states(other, tmp_path)] == ["unknown"] * 3
    with pytest.raises(ClusterError, match="nothing was collected"):
        collect(tmp_path, look(other, tmp_path))
    assert [state for state, _ in states(cluster, tmp_path)] == ["pending"] * 3


def test_tasks_that_slurm_does_not_show_to_another_user_are_not_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, blind = MemorySlurm(), MemorySlurm()
    submit(cluster, tmp_path)
    monkeypatch.setattr("os.getuid", lambda: 4711)
    assert [state for state, _ in states(cluster, tmp_path)] == ["pending"] * 3, "it is shown"
    with pytest.raises(ClusterError, match="is of the user"):
        submit(blind, tmp_path)
    assert not blind._jobs
    with pytest.raises(ClusterError, match="0 jobs cancelled, and not all may be"):
        asyncio.run(cancel(blind, SubmissionStore(tmp_path)))
    cluster.forget(1, 0, "NODE_FAIL")
    assert states(cluster, tmp_path)[0] == ("failed", "NODE_FAIL"), "the accounts are shown"


def test_a_job_that_was_renamed_is_not_queued_again(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    name, cluster._jobs[1].name = cluster._jobs[1].name, "mine"
    with pytest.raises(ClusterError, match=f"scontrol update JobId=1 JobName={name}"):
        submit(cluster, tmp_path)
    assert list(cluster._jobs) == [1]
    with pytest.raises(ClusterError, match="0 jobs cancelled, and not all may be"):
        asyncio.run(cancel(cluster, SubmissionStore(tmp_path)))
    cluster.set(1, 0, "COMPLETED")
    cluster.set(1, 1, "FAILED")
    cluster.set(1, 2, "CANCELLED")
    assert [state for state, _ in states(cluster, tmp_path)] == ["gone"] * 3


def test_cancel_on_another_cluster_does_not_say_that_all_is_cancelled(tmp_path: Path) -> None:
    cluster, other = MemorySlurm(), another()
    submit(cluster, tmp_path)
    with pytest.raises(ClusterError, match=r"0 jobs cancelled, and.*a login node of memory"):
        asyncio.run(cancel(other, SubmissionStore(tmp_path)))
    assert asyncio.run(cancel(cluster, SubmissionStore(tmp_path))) == ([1], [])


def test_what_one_cluster_has_published_another_need_not_ask_it_about(tmp_path: Path) -> None:
    cluster, other = MemorySlurm(), another()
    submit(cluster, tmp_path)
    cluster.work(program)
    found = look(other, tmp_path)
    assert ({task.state for task in found.tasks}, found.silent) == ({"done"}, ())
    assert submit(other, tmp_path) == []
    assert asyncio.run(cancel(other, SubmissionStore(tmp_path))) == ([], [])


def test_a_study_goes_on_elsewhere_once_its_submission_is_taken_out(tmp_path: Path) -> None:
    root, other = tmp_path / "out", another()
    submit(MemorySlurm(), root)
    (folder,) = (path.parent for path in root.glob("slurm/*/submission.json"))
    folder.rename(tmp_path / "moved")
    assert [row["tasks"] for row in submit(other, root)] == [3]


def test_a_cluster_that_does_not_say_its_name_may_be_another(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster._jobs.clear()
    cluster.away = {"scontrol"}
    assert [state for state, _ in states(cluster, tmp_path)] == ["unknown"] * 3
    cluster.away = set()
    assert [state for state, _ in states(cluster, tmp_path)] == ["gone"] * 3


def test_a_copy_of_a_study_does_not_act_on_what_the_original_has_at_work(tmp_path: Path) -> None:
    cluster, root, copy = MemorySlurm(), tmp_path / "a", tmp_path / "b"
    submit(cluster, root)
    shutil.copytree(root, copy)
    assert look(cluster, root).moved == ()
    assert f"publish in {root}, of which this is a copy" in look(cluster, copy).moved[0]
    for act in (
        lambda: submit(cluster, copy),
        lambda: collect(copy, look(cluster, copy)),
        lambda: asyncio.run(cancel(cluster, SubmissionStore(copy))),
    ):
        with pytest.raises(ClusterError, match=r"of which this is a copy.*: nothing was"):
            act()
    assert [state for state, _ in states(cluster, root)] == ["pending"] * 3
    cluster.work(program)
    assert [state for state, _ in states(cluster, copy)] == ["failed"] * 3, "of this directory's"
    assert len(submit(cluster, copy)) == 1, "nothing is at work any more"


def test_tasks_of_a_directory_that_was_moved_are_said_to_fail_and_can_be_submitted_anew(
    tmp_path: Path,
) -> None:
    cluster, root = MemorySlurm(), tmp_path / "a"
    submit(cluster, root)
    root = root.rename(tmp_path / "b")
    assert "if this directory was moved they will fail" in look(cluster, root).moved[0]
    (tmp_path / "a").symlink_to(root)
    assert look(cluster, root).moved == ()
    (tmp_path / "a").unlink()
    assert asyncio.run(cancel(cluster, SubmissionStore(root)))[0] == [1]
    assert look(cluster, root).moved == ()
    assert len(submit(cluster, root)) == 1
