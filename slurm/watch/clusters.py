"""Submissions to another cluster: this one's queue and accounts say nothing of them."""

from collections.abc import Iterable, Mapping

from catalog.errors import ClusterError
from slurm.scheduler.command import Slurm
from slurm.submit.submission import Submission


async def elsewhere(slurm: Slurm, submissions: Iterable[Submission]) -> Mapping[str, str]:
    """Return by token where else to ask of a submission; of earlier versions' it is not known.

    Login nodes of several clusters share file systems, and no queue has the other's jobs.
    """
    named = [each for each in submissions if each.cluster]
    if not named:
        return {}
    try:
        here = (await slurm.config()).cluster
    except ClusterError as error:
        return {each.token: str(error) for each in named}
    return {each.token: _way_out(each, here) for each in named if each.cluster != here}


def _way_out(submission: Submission, here: str) -> str:
    cluster, token = submission.cluster, submission.token
    return (
        f"submission {token} is on the cluster {cluster}, and this is {here}: ask on a login node "
        f"of {cluster}, or with SLURM_CLUSTERS={cluster}; if no job of it is left there, move the "
        f"folder slurm/{token} out of the results"
    )
