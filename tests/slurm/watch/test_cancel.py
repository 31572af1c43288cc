import asyncio
from pathlib import Path

import pytest

from moeserve.cli.slurm_submit import SubmitRequest
from slurm.submit.submission import SubmissionStore
from slurm.watch.cancel import cancel
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import SMALL, states, submit

pytestmark = pytest.mark.usefixtures("hurried")


def test_cancel_ends_what_is_ours_by_id(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    foreign = asyncio.run(cluster.submit(["--job-name=other", "job.sh"]))
    submit(cluster, tmp_path, SubmitRequest(SMALL, then=("collect", "report")))
    jobs, left = asyncio.run(cancel(cluster, SubmissionStore(tmp_path)))
    assert (len(jobs), left) == (3, [])
    assert [each.task.job for each in asyncio.run(cluster.queue())] == [foreign]
    assert {state for state, _ in states(cluster, tmp_path)} == {"cancelled"}
    assert asyncio.run(cancel(cluster, SubmissionStore(tmp_path))) == ([], [])
