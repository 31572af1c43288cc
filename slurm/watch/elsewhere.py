"""Jobs that are not found by name: on another cluster, another user's, or called otherwise now."""

import os
from collections.abc import Iterable, Mapping

from catalog.errors import ClusterError
from slurm.scheduler.command import Slurm
from slurm.submit.submission import Submission


async def elsewhere(slurm: Slurm, submissions: Iterable[Submission]) -> Mapping[str, str]:
    """Return by token whom to ask of a submission; of earlier versions' that is not known.

    Login nodes of several clusters share file systems, and no queue has the other's jobs. Users
    share directories, and a site may show each their own jobs alone (PrivateData).
    """
    listed, me = list(submissions), os.getuid()
    mine = [each for each in listed if me == 0 or each.uid in (None, me)]
    words = {each.token: _of_user(each) for each in listed if each not in mine}
    named = [each for each in mine if each.cluster]
    if not named:
        return words
    try:
        here = (await slurm.config()).cluster
    except ClusterError as error:
        return words | {each.token: str(error) for each in named}
    return words | {each.token: _of_cluster(each, here) for each in named if each.cluster != here}


async def renamed(slurm: Slurm, recorded: Mapping[str, int]) -> Mapping[str, str]:
    """Return by the name of an array what is said of its job where that is called otherwise now.

    A site's plugin or an `scontrol update` may do that to a job that waits or runs.
    """
    if not recorded:
        return {}
    try:
        called = {info.task.job: info.name for info in await slurm.queue()}
    except ClusterError as error:
        return dict.fromkeys(recorded, str(error))
    return {
        name: f"job {job} was submitted as {name} and is called {called[job]}: it has its tasks "
        f"again once `scontrol update JobId={job} JobName={name}` has run, or it has ended"
        for name, job in recorded.items()
        if job in called and called[job] != name
    }


def _of_user(submission: Submission) -> str:
    return (
        f"submission {submission.token} is of the user {submission.uid}, whose jobs this cluster "
        f"may not show to others: that user can ask; {_taken_out(submission)}"
    )


def _of_cluster(submission: Submission, here: str) -> str:
    cluster = submission.cluster
    return (
        f"submission {submission.token} is on the cluster {cluster}, and this is {here}: ask on a "
        f"login node of {cluster}, or with SLURM_CLUSTERS={cluster}; {_taken_out(submission)}"
    )


def _taken_out(submission: Submission) -> str:
    return f"if no job of it is left, move the folder slurm/{submission.token} out of the results"
