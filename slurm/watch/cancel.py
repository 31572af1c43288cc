"""Cancel the jobs of a results directory: by their ids, found by the submissions' job names."""

import asyncio
from collections.abc import Collection, Iterable

from catalog.errors import ClusterError
from orchestrator.results.store import Store
from slurm.scheduler.command import Slurm, SlurmUnreachable
from slurm.scheduler.parse import JobInfo
from slurm.scheduler.states import may_be_active
from slurm.submit.submission import Submission, SubmissionStore
from slurm.watch.elsewhere import elsewhere, renamed
from slurm.watch.moved import homes, is_copy, told_of

POLL_S = 1.0
SLACK_S = 15.0
"""Beyond the cluster's own time between TERM and KILL."""


async def cancel(slurm: Slurm, store: SubmissionStore) -> tuple[list[int], list[JobInfo]]:
    """Cancel every waiting or running job; return what was cancelled and what has not ended.

    ClusterError if some may be on another cluster, once those of this one are cancelled.
    """
    submissions = store.submissions()
    names = [array.name for each in submissions for array in each.arrays]
    names += [job.name for each in submissions for job in each.follow_ups]
    if not names:
        return [], []
    active = await _active(slurm, names)
    _check_own(store, submissions, {each.name for each in active})
    jobs = sorted({each.task.job for each in active})
    await slurm.cancel([str(job) for job in jobs])
    left = await _active(slurm, names)
    waited_s, limit_s = 0.0, max(each.kill_wait_s for each in submissions) + SLACK_S
    while left and waited_s < limit_s:
        await asyncio.sleep(POLL_S)
        waited_s += POLL_S
        left = await _active(slurm, names)
    await _check_elsewhere(slurm, store, {each.name for each in active})
    return jobs, left


def _check_own(
    store: SubmissionStore, submissions: Iterable[Submission], active: Collection[str]
) -> None:
    """Refuse to cancel from a copy what works for the directory that it was copied from."""
    at_work = [s for s in submissions if any(array.name in active for array in s.arrays)]
    for token, home in homes(store.root, at_work).items():
        if is_copy(token, home):
            raise ClusterError(f"{told_of(token, home)}: nothing was cancelled")


async def _check_elsewhere(slurm: Slurm, store: SubmissionStore, here: Collection[str]) -> None:
    """Refuse to say that all is cancelled while jobs of the study may be elsewhere, or renamed."""
    finished = Store(store.root).finished()
    not_whole = [
        each
        for each in store.submissions()
        if any(run.run_id not in finished for run in each.plan().runs)
    ]
    unseen = [s for s in not_whole if not any(array.name in here for array in s.arrays)]
    recorded = [job for s in not_whole for job in store.job_ids(s.token).items()]
    job_ids = {name: job for name, job in recorded if name not in here}
    if words := {**await elsewhere(slurm, unseen), **await renamed(slurm, job_ids)}:
        told = "; ".join(words.values())
        raise ClusterError(f"{len(here)} jobs cancelled, and not all may be: {told}")


async def _active(slurm: Slurm, names: list[str]) -> list[JobInfo]:
    # A queue that does not answer is an error here: nothing can be cancelled through it.
    try:
        listed = await slurm.queue(names)
    except SlurmUnreachable:
        await asyncio.sleep(POLL_S)
        listed = await slurm.queue(names)
    return [each for each in listed if may_be_active(each.state)]
