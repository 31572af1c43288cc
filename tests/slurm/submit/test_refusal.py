"""What Slurm refuses is told in its words, with what it has taken and the way out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.errors import ClusterError
from moeserve.cli.slurm_submit import SubmitRequest
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import SMALL, small, states, submit

QOS = "error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)"
TIME = "error: Batch job submission failed: Requested time limit is invalid"
MEMORY = "error: lua: Requesting memory by node is not supported. Use --mem-per-cpu."
NODES = "error: Batch job submission failed: Requested node configuration is not available"


class Refusing(MemorySlurm):
    """Refuses with these words what comes after so many jobs."""

    def __init__(self, words: str, after: int = 0) -> None:
        super().__init__()
        self.words, self.after = words, after

    async def submit(self, arguments: Sequence[str]) -> int:
        if len(self._jobs) >= self.after:
            raise ClusterError(f"sbatch: {self.words}")
        return await super().submit(arguments)


def refused(cluster: MemorySlurm, root: Path, request: SubmitRequest) -> str:
    with pytest.raises(ClusterError) as told:
        submit(cluster, root, request)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("words", "flags", "way"),
    [
        (QOS, {}, "max_submit: N"),
        (TIME, {}, "--time asks for less"),
        (MEMORY, {}, "memory: default asks for none, and sbatch: [--mem-per-cpu=SIZE]"),
        (NODES, {"memory": "2G"}, "1 CPUs and 2G memory: --cpus and --memory"),
        (NODES, {"sbatch": ["--exclude=n1,n2"]}, "n1,n2 are left out by --exclude"),
    ],
)
def test_a_refusal_comes_with_its_way_out(
    tmp_path: Path, words: str, flags: dict[str, object], way: str
) -> None:
    told = refused(Refusing(words), tmp_path, SubmitRequest(SMALL, flags))
    assert told.startswith(f"sbatch: {words}; ")
    assert way in told


def test_a_gpu_that_the_site_calls_otherwise_is_told_as_it_was_asked_for(tmp_path: Path) -> None:
    request = SubmitRequest(small(hardware="H100"), {"rehearse": True, "gpu_type": "h100"})
    for words in (NODES, "error: Invalid generic resource (gres) specification"):
        told = refused(Refusing(words), tmp_path, request)
        assert "as --gres=gpu:h100:" in told
        assert "`sinfo -o %G`" in told


def test_other_refusals_are_slurm_s_words_alone(tmp_path: Path) -> None:
    told = refused(Refusing("error: invalid partition: x"), tmp_path, SubmitRequest(SMALL))
    assert told == "sbatch: error: invalid partition: x"


def test_follow_ups_that_are_refused_leave_a_study_whose_tasks_are_said_to_wait(
    tmp_path: Path,
) -> None:
    cluster, request = Refusing(TIME, after=1), SubmitRequest(SMALL, then=("collect",))
    told = refused(cluster, tmp_path, request)
    assert "the study's tasks are in the queue" in told
    assert "follow_up:" in told
    assert {state for state, _ in states(cluster, tmp_path)} == {"pending"}
    cluster.after = 9
    assert [row["name"] for row in submit(cluster, tmp_path, request)] == [
        next(job.name for job in cluster._jobs.values() if job.name.endswith("collect"))
    ]


def test_arrays_that_were_taken_before_a_refusal_are_counted(tmp_path: Path) -> None:
    cluster = Refusing(QOS, after=1)
    cluster.slurm_config = replace(cluster.slurm_config, max_array_size=1)
    told = refused(cluster, tmp_path, SubmitRequest(SMALL))
    assert "1 of 3 arrays are in the queue" in told
    cluster.after = 9
    assert len(submit(cluster, tmp_path)) == 2
