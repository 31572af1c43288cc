"""What Slurm tells of tasks, and what it leaves unsaid: squeue's word and sacct's, kept apart."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from catalog.errors import ClusterError
from slurm.scheduler.command import Slurm
from slurm.scheduler.parse import JobInfo
from slurm.scheduler.states import ACTIVE, state_of
from slurm.submit.submission import Submission
from slurm.submit.submit import CLOCK_SKEW
from slurm.watch.elsewhere import elsewhere, renamed

Key = tuple[int, int]
"""An array job's id and a task's index."""


@dataclass(frozen=True, slots=True)
class SlurmJobs:
    """Tasks as Slurm reports them: squeue's of what is active, sacct's of what has ended."""

    queue: Mapping[Key, JobInfo]
    accounting: Mapping[Key, JobInfo]
    jobs: Mapping[str, int]
    """Job ids by name, also of jobs whose submission got no reply."""
    queue_silent: str = ""
    """Why squeue told nothing; empty if it answered."""
    accounts_silent: str = ""
    """Why sacct told nothing; empty if it answered, or was not needed, or has nothing to keep."""
    hidden: Mapping[str, str] = field(default_factory=dict)
    """By the name of an array whose jobs need not be shown here, whom to ask of it."""

    @property
    def silent(self) -> tuple[str, ...]:
        words = (self.queue_silent, self.accounts_silent, *self.hidden.values())
        return tuple(dict.fromkeys(each for each in words if each))

    def info_of(self, job: int | None, task: int, name: str) -> JobInfo | None:
        """Return what is known of a task of the array of this name; None if nothing is."""
        queued, kept = _of(self.queue, job, task, name), _of(self.accounting, job, task, name)
        if kept is None or (queued is not None and state_of(queued.state) in ACTIVE):
            return queued
        # Accounting lags, and never hears of the end of a job that a killed controller forgot:
        # what it still calls active is as the queue says, and nowhere if that has not got it.
        if state_of(kept.state) in ACTIVE and not self.queue_silent:
            return queued
        return kept

    def knows(self, job: int | None, task: int, name: str, *, ended: bool = False) -> bool:
        """Return whether all were heard who could say where this task is.

        The queue alone knows what is in it. Accounts alone may not know yet of a task that was
        queued again, and only both together can say that there is no such task. Where the task
        has said itself that it `ended`, no account of that is needed.
        """
        if _of(self.queue, job, task, name) is not None:
            return True
        kept = _of(self.accounting, job, task, name)
        active = kept is not None and state_of(kept.state) in ACTIVE
        if name in self.hidden and (kept is None or active):
            return False
        if kept is not None:
            return not self.queue_silent or active
        return not self.queue_silent and (ended or not self.accounts_silent)


async def query_jobs(
    slurm: Slurm,
    submissions: Iterable[Submission],
    job_ids: Mapping[str, int],
    done: Collection[str] = (),
) -> SlurmJobs:
    """Ask squeue, and sacct of what squeue leaves open, once for all submissions.

    `job_ids` are those that Slurm gave, by name; `done` are server groups of which nothing need be
    asked: all their runs are published.
    """
    listed = list(submissions)
    queue, queue_silent = await _queue(slurm, listed)
    jobs = {info.name: info.task.job for info in queue}
    by_task = _by_task(queue)
    left = [s for s in listed if _left_open(s, by_task, jobs, done)]
    if not left:
        return SlurmJobs(by_task, {}, jobs, queue_silent)
    accounts, accounts_silent = await _accounts(slurm, left)
    known = _by_task(accounts)
    if any(state_of(info.state) in ACTIVE and key not in by_task for key, info in known.items()):
        # Submitted since, or forgotten by the queue: that can say which.
        queue, queue_silent = await _queue(slurm, listed)
        by_task |= _by_task(queue)
        jobs |= {info.name: info.task.job for info in queue}
    left = [s for s in left if _left_open(s, by_task, jobs, done)]
    unseen = {name: job for name, job in job_ids.items() if name not in jobs}
    # Without the queue's word nothing is known to have ended anyway.
    hidden = {} if queue_silent else await _hidden(slurm, left, unseen)
    jobs = {info.name: info.task.job for info in accounts} | jobs
    return SlurmJobs(by_task, known, jobs, queue_silent, accounts_silent, hidden)


async def _hidden(
    slurm: Slurm, left: list[Submission], unseen: Mapping[str, int]
) -> Mapping[str, str]:
    """Return whom to ask of arrays that the queue may not show under their names."""
    away = await elsewhere(slurm, left)
    names = {a.name: away[s.token] for s in left if s.token in away for a in s.arrays}
    sought = [name for name in _names(left) if name in unseen and name not in names]
    found = await renamed(slurm, {name: unseen[name] for name in sought})
    return {**names, **found}


async def _queue(slurm: Slurm, listed: list[Submission]) -> tuple[list[JobInfo], str]:
    try:
        return await slurm.queue(_names(listed)), ""
    except ClusterError as error:
        return [], str(error)


async def _accounts(slurm: Slurm, listed: list[Submission]) -> tuple[list[JobInfo], str]:
    since = min(datetime.fromisoformat(each.submitted_at) for each in listed) - CLOCK_SKEW
    try:
        told = await slurm.accounting(_names(listed), since.strftime("%Y-%m-%dT%H:%M:%S"))
    except ClusterError as error:
        return [], str(error)
    return told or [], ""


def _left_open(
    submission: Submission,
    queue: Mapping[Key, JobInfo],
    jobs: Mapping[str, int],
    done: Collection[str],
) -> bool:
    """Return whether a task with runs missing is not waiting or running by the queue's word."""
    for array in submission.arrays:
        job = jobs.get(array.name)
        for index, specs in array.by_index.items():
            info = queue.get((job, index)) if job is not None else None
            active = info is not None and state_of(info.state) in ACTIVE
            if not active and any(spec.group_id not in done for spec in specs):
                return True
    return False


def _of(told: Mapping[Key, JobInfo], job: int | None, task: int, name: str) -> JobInfo | None:
    """What is told of this array's task: a controller that lost its state gives ids twice."""
    info = told.get((job, task)) if job is not None else None
    return info if info is not None and info.name == name else None


def _names(listed: Iterable[Submission]) -> list[str]:
    return [array.name for each in listed for array in each.arrays]


def _by_task(info: Iterable[JobInfo]) -> dict[Key, JobInfo]:
    return {(e.task.job, e.task.task): e for e in info if e.task.task is not None}
