"""End the jobs of a results directory: by their ids, and only if the names are ours."""

import asyncio

from slurm.command import NoAnswer, Slurm
from slurm.parse import Seen
from slurm.states import state_of
from slurm.submission import Desk

POLL_S = 1.0
SLACK_S = 15.0
"""Beyond the cluster's own time between TERM and KILL."""


async def cancel(slurm: Slurm, desk: Desk) -> tuple[list[int], list[Seen]]:
    """Cancel every waiting or running job; return what was cancelled and what has not ended."""
    submissions = desk.submissions()
    names = [array.name for each in submissions for array in each.arrays]
    names += [job.name for each in submissions for job in each.follow_ups]
    if not names:
        return [], []
    jobs = sorted({each.task.job for each in await _alive(slurm, names)})
    await slurm.cancel([str(job) for job in jobs])
    left = await _alive(slurm, names)
    waited_s, limit_s = 0.0, max(each.kill_wait_s for each in submissions) + SLACK_S
    while left and waited_s < limit_s:
        await asyncio.sleep(POLL_S)
        waited_s += POLL_S
        left = await _alive(slurm, names)
    return jobs, left


async def _alive(slurm: Slurm, names: list[str]) -> list[Seen]:
    # A queue that does not answer is an error here: nothing can be cancelled through it.
    try:
        seen = await slurm.queue(names)
    except NoAnswer:
        await asyncio.sleep(POLL_S)
        seen = await slurm.queue(names)
    return [each for each in seen if state_of(each.state) in ("pending", "running")]
