"""Submitting from the command line: options from all sides, a plan shown, arrays sent."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import ClusterError
from moeserve.cli.show import note
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment import AUTO
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.plan import Plan, notices
from orchestrator.results.directory import default_directory
from orchestrator.results.disk_space import storage_errors
from orchestrator.results.planned import keep_planned
from orchestrator.results.record import Row
from orchestrator.results.store import Store
from slurm.scheduler.command import DEFAULTS, Slurm, SlurmCommands, SlurmConfig, left_out
from slurm.scheduler.parse import write_duration
from slurm.submit.bill import bill_of, total
from slurm.submit.container import check_container
from slurm.submit.job_script import script_text
from slurm.submit.options import SubmitOptions, merge_options
from slurm.submit.plan_elsewhere import pool_of, remote_plan
from slurm.submit.refusal import way_out
from slurm.submit.site_profile import site_options, user_defaults
from slurm.submit.submission import Submission, SubmissionStore, scripts
from slurm.submit.submit import Draft, SubmitPlan, draft, missing_of, submit
from slurm.submit.turn import turn
from slurm.watch.collect import CollectResult
from slurm.watch.status import TaskStatus, status

REHEARSAL = ("cpus", "memory", "time")
"""Options of a study that rehearses which hold for the rehearsal alone."""


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """What the user asked for."""

    experiment: Experiment
    flags: Mapping[str, Any] = field(default_factory=dict)
    cluster: str | None = None
    profile: Path | None = None
    then: tuple[str, ...] = ()
    rounds: int = 0


async def submit_study(
    request: SubmitRequest, directory: Path | None, *, dry_run: bool, slurm: Slurm | None = None
) -> list[Row]:
    """Submit what is missing and not in the queue; return a row an array."""
    slurm, config = await _reach(slurm, dry_run=dry_run)
    if out := left_out(os.environ):
        note(f"{', '.join(out)} not passed on to sbatch: moeserve asks for these itself")
    profile = site_options(request.profile, cluster=request.cluster, found=config.cluster)
    site = user_defaults(os.environ) | profile
    study = request.experiment.slurm
    options = merge_options(site, study, request.flags)
    plan, engine = await remote_plan(request.experiment, options)
    if study.get("rehearse") and engine_kind(engine).devices != "none":
        options = merge_options(site, _without_rehearsal(study), request.flags)
    if options.container is not None:
        check_container(options.container, engine_kind(engine))
    if engine_kind(engine).running_model:
        # Tasks beside each other would measure each other's load on the one server.
        options = msgspec.structs.replace(options, max_parallel=1)
    _tell_plan(plan, engine, options)
    root = (directory or default_directory(request.experiment)).absolute()
    # Only the follow-up can begin another round.
    then = tuple(dict.fromkeys(("collect", *request.then))) if request.rounds else request.then
    submit_plan = SubmitPlan(plan, engine, options, root, then, request.rounds)
    if slurm is None:
        made = draft(submit_plan, missing_of(plan, root), config, queued=0)
        _warn(made, options, config)
        return _show_plan(made.submission)
    if dry_run:
        groups, _ = await _to_submit(plan, root, slurm)
        made = draft(submit_plan, groups, config, queued=len(await slurm.queue()))
        _warn(made, options, config)
        return _show_plan(made.submission)
    Store(root).create(plan.experiment)
    if not plan.experiment.find_max:  # how many runs a search takes nobody knows
        with storage_errors(root):
            keep_planned(root, plan.runs)
    async with turn(root, note):
        return await _submit_missing(submit_plan, slurm, config)


async def _submit_missing(submit_plan: SubmitPlan, slurm: Slurm, config: SlurmConfig) -> list[Row]:
    """Submit what no task is at; nobody else may between the look and the submission."""
    root = submit_plan.root
    groups, active = await _to_submit(submit_plan.plan, root, slurm)
    made = draft(submit_plan, groups, config, queued=len(await slurm.queue()))
    _warn(made, submit_plan.options, config)
    if not groups and not submit_plan.then:
        note(f"nothing to submit: every run is published or in the queue; results in {root}")
        return []
    return await _send(slurm, root, made.submission, beside=_jobs(active))


def _tell_plan(plan: Plan, engine: str, options: SubmitOptions) -> None:
    """Say what is planned because no GPU was named, and what is left out."""
    kind = engine_kind(engine)
    by_itself = kind.devices != "none" or plan.experiment.engine == AUTO
    if by_itself and not kind.running_model and pool_of(plan.experiment, options) is None:
        simulated = "tasks run the simulated engine: its numbers come from a model of the GPU"
        on_cpu = "tasks ask for none, and servers compute on the CPU"
        told = simulated if kind.virtual else on_cpu
        note(f"no GPU is named (--hardware, `gpus:` of a profile), so {told}")
    for refused in plan.refused:
        setup = refused.setup
        note(f"not run: {setup.model} {setup.strategy}: {'; '.join(refused.reasons)}")
    if left_out := notices("", plan):
        note(left_out)


def _jobs(tasks: Iterable[TaskStatus]) -> list[int]:
    return sorted({task.job for task in tasks if task.job is not None})


async def _reach(slurm: Slurm | None, *, dry_run: bool) -> tuple[Slurm | None, SlurmConfig]:
    """Return Slurm and its limits; for a dry run without it, none and Slurm's own defaults."""
    try:
        slurm = slurm or SlurmCommands()
        return slurm, await slurm.config()
    except ClusterError as error:
        if not dry_run:
            raise
        note(
            f"planned without Slurm ({error}): with its default limits, arrays of up to "
            f"{DEFAULTS.max_array_size} tasks, and as if nothing were in the queue"
        )
        return None, DEFAULTS


def _without_rehearsal(study: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what a study asks for its rehearsal: real servers need what the site gives."""
    mine = [name for name in REHEARSAL if name in study]
    if mine:
        note(f"{', '.join(mine)} of the study are those of its rehearsal, and not asked for")
    return {name: value for name, value in study.items() if name not in (*mine, "rehearse")}


async def _to_submit(
    plan: Plan, root: Path, slurm: Slurm
) -> tuple[list[ServerGroup], tuple[TaskStatus, ...]]:
    """Return the groups with missing runs that no task is at, and the tasks that are at some."""
    missing = missing_of(plan, root)
    stand = await status(slurm, SubmissionStore(root))
    stand.check_known("nothing was submitted", {group.group_id for group in missing})
    active = {task.group.group_id for task in stand.active}
    if active:
        note("; ".join((f"{len(active)} server groups are in the queue already", *stand.moved)))
    return [group for group in missing if group.group_id not in active], stand.active


async def _send(
    slurm: Slurm, root: Path, submission: Submission, *, beside: Sequence[int]
) -> list[Row]:
    try:
        with storage_errors(root):
            jobs = await submit(slurm, SubmissionStore(root), submission, beside=beside)
    except ClusterError as error:
        taken = SubmissionStore(root).job_ids(submission.token)
        told = way_out(str(error), submission, taken)
        raise ClusterError("; ".join(filter(None, (str(error), told)))) from error
    note(f"results in {root}: moeserve slurm status {root}")
    rows = [{**row, "job": jobs[str(row["name"])]} for row in _rows(submission)]
    after: list[Row] = [{"name": job.name, "job": jobs[job.name]} for job in submission.follow_ups]
    return [*rows, *after]


async def retry_missing(
    directory: Path,
    collected: CollectResult,
    *,
    slurm: Slurm | None = None,
    rounds: int | None = None,
    active: Iterable[TaskStatus] = (),
) -> list[Row]:
    """Submit again what is missing, as it was submitted last, but not on nodes that failed.

    With the same follow-ups: with `rounds`, of which this is one, they may do so again, and what
    failed for a reason that lasts is left out.
    """
    slurm = slurm or SlurmCommands()
    store = SubmissionStore(directory)
    last = store.submissions()[-1]
    groups = [g for g in collected.retry if rounds is None or g.group_id not in collected.lasting]
    if not groups:
        return []
    options = last.options
    if collected.bad_nodes:
        note(f"not on {', '.join(collected.bad_nodes)}")
        options = _without(options, collected.bad_nodes)
    then = next((each.then for each in reversed(store.submissions()) if each.then), ())
    left = max(0, (rounds or 0) - 1)
    submit_plan = SubmitPlan(
        last.plan(), last.engine, options, store.root, then, left, by_itself=rounds is not None
    )
    config, queued = await slurm.config(), len(await slurm.queue())
    made = draft(submit_plan, groups, config, queued=queued)
    _warn(made, options, config)
    return await _send(slurm, store.root, made.submission, beside=_jobs(active))


def _without(options: SubmitOptions, nodes: Sequence[str]) -> SubmitOptions:
    """Exclude nodes, besides those excluded before."""
    flag = "--exclude="
    before = [each.removeprefix(flag) for each in options.sbatch if each.startswith(flag)]
    others = [each for each in options.sbatch if not each.startswith(flag)]
    excluded = ",".join(dict.fromkeys((*before, *nodes)))
    return msgspec.structs.replace(options, sbatch=(*others, flag + excluded))


def _warn(made: Draft, options: SubmitOptions, config: SlurmConfig) -> None:
    if made.held_back:
        note(
            f"{made.held_back} tasks do not fit the queue now: the same command submits them later"
        )
    for words in (*made.shortages, *made.starts, *made.packing):
        note(words)
    if billed := total(bill_of(array) for array in made.submission.arrays).told:
        note(billed)
    if options.requeue:
        note("requeue: a lost task may run twice for a while; each run is still published once")
    if config.kill_wait_s < 10:
        note(f"this cluster kills {config.kill_wait_s:g} s after TERM: servers get no time to end")


def _show_plan(submission: Submission) -> list[Row]:
    for text in dict.fromkeys(
        (script_text(submission.options.setup), *scripts(submission.options).values())
    ):
        note(text)
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
        asked, bill = _asked(array.arguments), bill_of(array)
        rows.append(
            {
                "name": array.name,
                "groups": len(array.tasks),
                "tasks": len(array.by_index),
                "first": array.tasks[0].group_id,
                "last": array.tasks[-1].group_id,
                "gres": asked.get("gres", ""),
                "gpus": asked.get("gpus-per-node", asked.get("gpus-per-task", "")),
                "cpus": asked.get("cpus-per-task", ""),
                "memory": asked.get("mem", ""),
                "time": asked.get("time", ""),
                "longest_task": write_duration(max(known)) if known else "",
                "gpu_hours": bill.gpu_hours,
                "max_gpu_hours": bill.max_gpu_hours,
                "usd": bill.usd if array.gpus else None,
                "expected_s": sum(known) if len(known) == len(expected) else None,
            }
        )
    return rows


def _asked(arguments: Sequence[str]) -> dict[str, str]:
    """Return the options of an array by name, the last of each: Slurm takes that."""
    options = (word[2:].partition("=") for word in arguments if word.startswith("--"))
    return {name: value for name, equals, value in options if equals}
