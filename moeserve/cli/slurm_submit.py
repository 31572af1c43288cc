"""Submitting from the command line: options from all sides, a plan shown, arrays sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from moeserve.cli.show import Row, note
from orchestrator.experiment import Experiment
from orchestrator.plan import Plan, ServerGroup
from orchestrator.store import Store
from orchestrator.study import default_directory
from slurm.arrays import JOB_SCRIPT
from slurm.collect import Collected
from slurm.command import Limits, Slurm, SlurmCommands
from slurm.options import Options, merged, site_options
from slurm.parse import write_duration
from slurm.remote import remote_plan
from slurm.status import status
from slurm.submission import Desk, Submission
from slurm.submit import Asked, Draft, draft, missing_of, submit


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for."""

    experiment: Experiment
    flags: Mapping[str, Any] = field(default_factory=dict)
    cluster: str | None = None
    profile: Path | None = None
    then: tuple[str, ...] = ()


async def submit_study(
    wish: Wish, directory: Path | None, *, dry_run: bool, slurm: Slurm | None = None
) -> list[Row]:
    """Submit what is missing and not in the queue; return a row an array."""
    slurm = slurm or SlurmCommands()
    limits = await slurm.limits()
    site = site_options(wish.profile, cluster=wish.cluster, found=limits.cluster)
    options = merged(site, wish.experiment.slurm, wish.flags)
    plan, engine = await remote_plan(wish.experiment, options)
    if engine == "endpoint":
        # Tasks beside each other would measure each other's load on the one server.
        options = msgspec.structs.replace(options, max_parallel=1)
    for refused in plan.refused:
        setup = refused.setup
        note(f"not run: {setup.model} {setup.strategy}: {'; '.join(refused.reasons)}")
    root = (directory or default_directory(wish.experiment)).absolute()
    groups = await _to_submit(plan, root, slurm, dry_run=dry_run)
    asked = Asked(plan, engine, options, root, wish.then)
    made = draft(asked, groups, limits, queued=len(await slurm.queue()))
    _tell(made, options, limits)
    if dry_run:
        return _show_plan(made.submission)
    if not groups and not wish.then:
        note(f"nothing to submit: every run is published or in the queue; results in {root}")
        return []
    return await _send(slurm, root, made.submission)


async def _to_submit(plan: Plan, root: Path, slurm: Slurm, *, dry_run: bool) -> list[ServerGroup]:
    """Return the groups with missing runs that no task is waiting for or running."""
    if not dry_run:
        Store(root).create(plan.experiment)
    missing = missing_of(plan, root)
    stand = await status(slurm, Desk(root))
    active = {task.group.group_id for task in stand.active}
    if active:
        note(f"{len(active)} server groups are in the queue already")
    return [group for group in missing if group.group_id not in active]


async def _send(slurm: Slurm, root: Path, submission: Submission) -> list[Row]:
    jobs = await submit(slurm, Desk(root), submission)
    note(f"results in {root}: moeserve slurm status {root}")
    rows = [{**row, "job": jobs[str(row["name"])]} for row in _rows(submission)]
    after: list[Row] = [{"name": job.name, "job": jobs[job.name]} for job in submission.follow_ups]
    return [*rows, *after]


async def retry_missing(
    directory: Path, joined: Collected, *, slurm: Slurm | None = None
) -> list[Row]:
    """Submit again what is missing, as it was submitted last, but not on nodes that failed."""
    slurm = slurm or SlurmCommands()
    desk = Desk(directory)
    last = desk.submissions()[-1]
    options = last.options
    if joined.bad_nodes:
        note(f"not on {', '.join(joined.bad_nodes)}")
        options = _without(options, joined.bad_nodes)
    asked = Asked(last.plan(), last.engine, options, desk.root)
    queued = len(await slurm.queue())
    made = draft(asked, joined.retry, await slurm.limits(), queued=queued)
    _tell(made, options, await slurm.limits())
    return await _send(slurm, desk.root, made.submission)


def _without(options: Options, nodes: Sequence[str]) -> Options:
    """Exclude nodes, besides those excluded before."""
    flag = "--exclude="
    before = [each.removeprefix(flag) for each in options.sbatch if each.startswith(flag)]
    others = [each for each in options.sbatch if not each.startswith(flag)]
    excluded = ",".join(dict.fromkeys((*before, *nodes)))
    return msgspec.structs.replace(options, sbatch=(*others, flag + excluded))


def _tell(made: Draft, options: Options, limits: Limits) -> None:
    if made.held_back:
        note(
            f"{made.held_back} tasks do not fit the queue now: the same command submits them later"
        )
    if options.requeue:
        note("requeue: a lost task may run twice for a while; each run is still published once")
    if limits.kill_wait_s < 10:
        note(f"this cluster kills {limits.kill_wait_s:g} s after TERM: servers get no time to end")


def _show_plan(submission: Submission) -> list[Row]:
    import shlex

    note(JOB_SCRIPT.read_text())
    for array in submission.arrays:
        note(f"sbatch --parsable {shlex.join(array.arguments)}")
    for follow_up in submission.follow_ups:
        note(f"sbatch --parsable --dependency=afterany:… {shlex.join(follow_up.arguments)}")
    return _rows(submission)


def _rows(submission: Submission) -> list[Row]:
    rows: list[Row] = []
    for array in submission.arrays:
        expected: Sequence[float | None] = [task.expected_s for task in array.tasks]
        known = [each for each in expected if each is not None]
        words = [word for word in array.arguments if word.startswith("--gres=")]
        rows.append(
            {
                "name": array.name,
                "tasks": len(array.tasks),
                "first": array.tasks[0].group_id,
                "last": array.tasks[-1].group_id,
                "gres": words[0].removeprefix("--gres=") if words else "",
                "longest_task": write_duration(max(known)) if known else "",
                "expected_s": sum(known) if len(known) == len(expected) else None,
            }
        )
    return rows
