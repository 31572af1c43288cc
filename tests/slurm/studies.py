"""A small study on the Slurm in memory: submitted, looked at, its tasks done in this process."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from moeserve.cli.slurm_submit import SubmitRequest, submit_study
from orchestrator.experiment.experiment import Experiment
from slurm.job import task
from slurm.scheduler.command import Slurm
from slurm.submit.submission import SubmissionStore
from slurm.watch.status import StudyStatus, status

SMALL = Experiment(
    engine="simulated", strategies=("tp", "ep", "tp+ep"), workloads=("16:8:6",), concurrency="1,4"
)


def small(**changes: object) -> Experiment:
    return msgspec.structs.replace(SMALL, **changes)


def submit(
    cluster: Slurm, root: Path, request: SubmitRequest | None = None
) -> list[dict[str, object]]:
    rows = asyncio.run(
        submit_study(request or SubmitRequest(SMALL), root, dry_run=False, slurm=cluster)
    )
    return [dict(row) for row in rows]


def look(cluster: Slurm, root: Path) -> StudyStatus:
    return asyncio.run(status(cluster, SubmissionStore(root)))


def states(cluster: Slurm, root: Path) -> list[tuple[str, str]]:
    return [(each.state, each.failure) for each in look(cluster, root).tasks]


def program(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Do in this process what the job script does."""
    assert list(command[1:4]) == ["-P", "-m", "slurm.job.task"]
    return task.main(list(command[4:]), variables)
