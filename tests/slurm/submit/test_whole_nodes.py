"""Whole nodes: what is asked for, which groups share one, what it costs, and who else is there."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import BadValue, ClusterError
from moeserve.cli.slurm_submit import SubmitRequest, submit_study
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.ray_options import RayOptions
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.neighbours import other_jobs
from orchestrator.run.events import GroupFailed
from slurm.job.journal import Journal, TaskAttempt
from slurm.submit.bill import bill_of, total
from slurm.submit.submission import ArraySpec, SubmissionStore, TaskSpec
from slurm.submit.whole_nodes import first_fit_decreasing
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import look, small

GPU = "A100-80GB"
WHOLE = {"rehearse": True, "whole_nodes": True, "hardware": GPU,
         "gpus": {GPU: {"type": "a100", "per_node": 4}}}  # fmt: skip


def study(share: bool = True, **slurm: object) -> Experiment:
    """Groups of 1, 2, 2, 4 and of 4 + 4 GPUs."""
    return small(
        strategies=("single", "tp", "ep", "tp4", "dp8+ep"),
        ray=RayOptions(share_nodes=share),
        slurm={**WHOLE, **slurm},
    )


def submit(root: Path, experiment: Experiment) -> tuple[MemorySlurm, list[dict[str, Any]]]:
    cluster = MemorySlurm()
    rows = asyncio.run(submit_study(SubmitRequest(experiment), root, dry_run=False, slurm=cluster))
    return cluster, [dict(row) for row in rows]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 8), st.floats(0, 9)), max_size=40))
def test_no_node_is_overfull_and_at_most_one_is_half_empty(items: list[tuple[int, float]]) -> None:
    sizes = [size for size, _ in items]
    bins = first_fit_decreasing(sizes, 8, [seconds for _, seconds in items])
    load = [sum(s for s, b in zip(sizes, bins, strict=True) if b == each) for each in set(bins)]
    assert all(0 < each <= 8 for each in load)
    assert sum(each <= 4 for each in load) <= 1
    assert sorted(set(bins)) == list(range(len(load)))


def test_of_equal_size_those_that_take_equally_long_share_a_node() -> None:
    assert first_fit_decreasing([2, 2, 2, 2], 4, [1.0, 9.0, 1.0, 9.0]) == [1, 0, 1, 0]
    with pytest.raises(ValueError, match="5 do not fit into 4"):
        first_fit_decreasing([5], 4, [0.0])


def test_groups_share_tasks_of_a_whole_node_and_each_keeps_a_state_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, rows = submit(tmp_path, study())
    assert [(row["groups"], row["tasks"], row["gres"]) for row in rows] == [
        (4, 3, "gpu:a100:4"),
        (1, 1, "gpu:a100:4"),
    ]
    told = capsys.readouterr().err
    assert "4 groups in 3 tasks of 4 GPUs, 9 of 12 used, up to 2 groups beside each other" in told
    assert "whole nodes: 2 of 4 GPUs each are billed, and 8 of their 8 GPUs used" in told
    assert "GPU-hours: " in told
    (submission,) = SubmissionStore(tmp_path).submissions()
    words = submission.arrays[0].arguments
    assert {"--exclusive", "--mem=0", "--array=0-2"} <= set(words)
    assert not [word for word in words if word.startswith("--cpus")]
    assert submission.arrays[1].gpus == 8, "both nodes of a group of two are billed"
    tasks = look(cluster, tmp_path).tasks
    assert len(tasks) == 5
    assert len({task.task_id for task in tasks}) == 4


def test_alone_on_its_node_a_group_is_told_what_sharing_would_save(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, rows = submit(tmp_path, study(share=False))
    assert [(row["groups"], row["tasks"]) for row in rows] == [(4, 4), (1, 1)]
    assert "4 of 4 GPUs each are billed, and 9 of their 16 GPUs used; --share-nodes takes 3" in (
        capsys.readouterr().err
    )


def test_an_exclusive_of_sbatch_s_own_is_billed_as_the_node_that_it_takes(tmp_path: Path) -> None:
    _, rows = submit(tmp_path, study(share=False, whole_nodes=False, sbatch=["--exclusive"]))
    assert {row["gres"] for row in rows} == {"gpu:a100:4"}
    (submission,) = SubmissionStore(tmp_path).submissions()
    assert submission.arrays[0].arguments.count("--exclusive") == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gpus": {GPU: {"type": "a100"}}}, "per_node: N"),
        ({"container": {"kind": "pyxis", "image": "i.sqsh"}}, "none with --share-nodes"),
        ({"sbatch": ["--exclusive=user"]}, "no other --exclusive"),
    ],
)
def test_what_cannot_be_billed_or_packed_is_refused(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadValue, match=told):
        submit(tmp_path, study(**changes))


def test_a_task_is_billed_until_its_last_group_ends_and_at_most_its_limit() -> None:
    hour = 3600.0

    def array(*times: tuple[int, float | None], **changes: Any) -> ArraySpec:
        tasks = [TaskSpec(group_id="g", expected_s=s, run_s=1.0, index=i) for i, s in times]
        given = {"arguments": ("--time=2:00:00",), "gpus": 4, "price_per_hour_usd": 2.0}
        return ArraySpec(name="n", tasks=tuple(tasks), **{**given, **changes})

    both = bill_of(array((0, hour), (0, hour / 2), (1, hour / 4)))
    assert (both.gpu_hours, both.usd) == (5.0, 10.0)
    assert (both.max_gpu_hours, both.max_usd) == (16.0, 32.0)
    assert both.told == ("GPU-hours: 5 ($10.00) expected, 16 ($32.00) at most by the time limits")
    unknown = bill_of(array((0, None), (1, hour), price_per_hour_usd=None, arguments=()))
    assert (unknown.gpu_hours, unknown.max_gpu_hours, unknown.usd) == (None, None, None)
    assert "not known how many expected" in unknown.told
    assert "--price-per-hour" in unknown.told
    assert total([both, unknown]).gpu_hours is None
    assert bill_of(array((0, hour), gpus=0)).told == ""


def test_a_journal_says_of_each_group_only_what_is_its_own(tmp_path: Path) -> None:
    cluster, _ = submit(tmp_path, study())
    pairs: dict[Any, list[ServerGroup]] = {}
    for task in look(cluster, tmp_path).tasks:
        pairs.setdefault((task.job, task.task, task.token), []).append(task.group)
    (job, index, token), (bad, good) = next(item for item in pairs.items() if len(item[1]) == 2)
    attempt = TaskAttempt(array_job=job or 0, task=index, job=9, restart=0, nonce="n")
    journal = Journal(tmp_path / "slurm" / token / "tasks", attempt)
    journal(GroupFailed(bad, "OOM_WEIGHTS: too large", "", "", False))
    journal.end("failed", 5)
    journal.close()
    cluster.set(job or 0, index, "FAILED", "5:0")
    failures = {task.group: task.failure for task in look(cluster, tmp_path).tasks}
    assert failures[bad] == "OOM_WEIGHTS"
    assert failures[good] == "RUNS_FAILED"


def test_other_jobs_are_counted_only_by_who_sees_its_own(tmp_path: Path) -> None:
    def process(number: int, name: bytes) -> None:
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cmdline").write_bytes(name)

    process(1, b"slurmstepd: [70.extern]\0")
    process(2, b"slurmstepd: [71+0.batch]\0")
    process(3, b"python\0slurmstepd: [72.batch]\0")
    assert other_jobs({"SLURM_JOB_ID": "7"}, tmp_path) is None
    assert other_jobs({}, tmp_path) is None
    assert other_jobs({"SLURM_JOB_ID": "70"}, tmp_path) == 1
    process(4, b"slurmstepd: [70.batch]\0")
    assert other_jobs({"SLURM_JOB_ID": "71"}, tmp_path) == 1


def test_a_group_larger_than_a_node_is_told_what_the_profile_lacks(tmp_path: Path) -> None:
    class FourGpuNodes(MemorySlurm):
        async def submit(self, arguments: Sequence[str]) -> int:
            raise ClusterError("sbatch: error: Requested node configuration is not available")

    experiment = small(engine="vllm", strategies=("dp8+ep",), hardware=GPU)
    asked = submit_study(SubmitRequest(experiment), tmp_path, dry_run=False, slurm=FourGpuNodes())
    with pytest.raises(ClusterError, match=rf"8 GPUs .* gpus: {{{GPU}: {{per_node: N}}}} says how"):
        asyncio.run(asked)
