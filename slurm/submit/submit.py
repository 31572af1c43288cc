"""Submit what is missing: planned, written to files, and submitted once, whatever Slurm answers."""

import asyncio
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from catalog.errors import ClusterError
from catalog.units import GIB
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.server_group import Pool, ServerGroup
from orchestrator.plan import Plan
from orchestrator.results.store import Store
from orchestrator.run.outcome import price_per_hour
from slurm.scheduler.command import Slurm, SlurmConfig, SlurmUnreachable
from slurm.scheduler.parse import parse_duration
from slurm.scheduler.states import state_of
from slurm.submit.arrays import (
    array_arguments,
    by_request,
    program,
    resource_arguments,
)
from slurm.submit.earlier import earlier
from slurm.submit.estimate import Estimator, time_limit
from slurm.submit.follow_ups import follow_ups
from slurm.submit.job_script import TASK, script_path
from slurm.submit.names import SITES_OWN, memory_bytes
from slurm.submit.needs import Needs, needs_of, shortage, together
from slurm.submit.options import SubmitOptions
from slurm.submit.plan_elsewhere import pool_of
from slurm.submit.submission import (
    ArraySpec,
    PoolSpec,
    Submission,
    SubmissionStore,
    SubmittedJob,
    new_token,
)
from slurm.submit.whole_nodes import packed, told_of_nodes

ATTEMPTS = 4
FIRST_PAUSE_S = 2.0
CLOCK_SKEW = timedelta(hours=26)
"""How far back accounts are searched: clocks and time zones of hosts differ."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A submission, and what there was no room for."""

    submission: Submission
    held_back: int
    shortages: tuple[str, ...] = ()
    """What was asked for by name though the tasks are expected to need more."""
    starts: tuple[str, ...] = ()
    """Of which servers the time limits rest on starts that were seen."""
    packing: tuple[str, ...] = ()
    """How whole nodes are used."""


@dataclass(frozen=True, slots=True)
class SubmitPlan:
    """A plan, and how its tasks are to be submitted."""

    plan: Plan
    engine: str
    options: SubmitOptions
    root: Path
    then: tuple[str, ...] = ()
    rounds: int = 0
    """How often the follow-up may submit again what is missing."""
    by_itself: bool = False
    """Whether nobody is there to be refused: tasks then do what fits their limit."""


def missing_of(plan: Plan, root: Path) -> list[ServerGroup]:
    """Return the groups with runs that are not published yet."""
    finished = Store(root).finished() if root.is_dir() else set()
    return [g for g in plan.groups if any(run.run_id not in finished for run in g.runs)]


def draft(
    submit_plan: SubmitPlan, groups: Sequence[ServerGroup], config: SlurmConfig, *, queued: int
) -> Draft:
    """Turn server groups into arrays that this Slurm takes, `queued` of ours being in its queue."""
    options, root = submit_plan.options, submit_plan.root.resolve()
    capacity = max(
        0, min(options.max_submit or config.max_job_count, config.max_job_count) - queued
    )
    chosen, token = list(groups)[:capacity], new_token()
    estimator = Estimator(submit_plan.plan, earlier(root))
    finished = Store(root).finished() if root.is_dir() else set()
    arrays: list[ArraySpec] = []
    shortages: list[str] = []
    packing: list[str] = []
    for array_request, listed in by_request(
        chosen, options, submit_plan.plan.experiment.ray, longest=config.max_array_size
    ):
        tasks = [
            estimator.task(g, tuple(run for run in g.runs if run.run_id not in finished))
            for g in listed
        ]
        if array_request.packed:
            tasks = packed(tasks, listed, array_request.gpus)
        if array_request.whole:
            packing.append(told_of_nodes(tasks, listed, array_request.gpus, array_request.nodes))
        lead_s = options.signal_lead_s
        limit = time_limit(
            options.time,
            tasks,
            lead_s + estimator.start_room_s(listed),
            rounds=sys.maxsize if submit_plan.by_itself else submit_plan.rounds,
            lead_s=lead_s,
        )
        name = options.job_name.replace("{job}", f"moeserve-{token}-{len(arrays)}")
        models = submit_plan.plan.models
        needs = Needs()  # of a whole node there is no more than all of it
        if not array_request.whole:
            needs = together(needs_of(g, models[g.setup.model], array_request) for g in listed)
        if short := shortage(needs, options.cpus, _asked_bytes(options)):
            shortages.append(f"tasks of {listed[0].group_id} and others like it: {short}")
        arguments = [
            *array_arguments(
                count=len({task.index for task in tasks}) if array_request.packed else len(tasks),
                name=name,
                token=token,
                root=root,
                options=options,
                lead_s=_lead_s(options.signal_lead_s, limit),
            ),
            *resource_arguments(array_request, _filled(options, needs)),
            *([f"--time={limit}"] if limit else []),
            *options.other_options,
            *program(
                sys.executable,
                root,
                options,
                _task_words(root, token, len(arrays)),
                script_path(root, token, options.setup, TASK),
            ),
        ]
        arrays.append(
            ArraySpec(
                name=name,
                arguments=tuple(arguments),
                tasks=tuple(tasks),
                gpus=array_request.gpus * array_request.nodes,
                price_per_hour_usd=price_per_hour(
                    listed[0].setup, submit_plan.plan.experiment.price_per_hour_usd
                ),
            )
        )
    submission = _submission(submit_plan, token, arrays, config)
    starts = () if options.time else tuple(estimator.told_starts(chosen))
    return Draft(
        submission, len(groups) - len(chosen), tuple(shortages), starts, packing=tuple(packing)
    )


def _filled(options: SubmitOptions, needs: Needs) -> SubmitOptions:
    """Ask for what is needed where neither a field nor an option of sbatch's says otherwise."""
    words = options.sbatch
    cpus, memory = options.cpus, options.memory
    if cpus is None and not any(word.startswith("--cpus") for word in words):
        cpus = needs.cpus
    if memory is None and needs.memory_bytes and not any(w.startswith("--mem") for w in words):
        memory = f"{math.ceil(needs.memory_bytes / GIB)}G"
    return msgspec.structs.replace(options, cpus=cpus, memory=memory)


def _asked_bytes(options: SubmitOptions) -> int | None:
    memory = options.memory
    return None if memory in (None, SITES_OWN) else memory_bytes(str(memory))


def _lead_s(asked_s: int, limit: str | None) -> int:
    """Return how long before the limit the signal comes: no more than half of the time."""
    limit_s = parse_duration(limit) if limit else None
    return asked_s if limit_s is None else min(asked_s, int(limit_s / 2))


def _task_words(root: Path, token: str, array: int) -> list[str]:
    return ["-P", "-m", "slurm.job.task", str(root), token, str(array)]


def _submission(
    submit_plan: SubmitPlan, token: str, arrays: Sequence[ArraySpec], config: SlurmConfig
) -> Submission:
    experiment = submit_plan.plan.experiment
    spec, kind = None, engine_kind(submit_plan.engine)
    if kind.devices != "none":
        pool = pool_of(experiment, submit_plan.options) or Pool("CPU")
        spec = PoolSpec(hardware=pool.hardware, gpus_per_node=dict(pool.gpus_per_node))
    return Submission(
        token=token,
        submitted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        engine=submit_plan.engine,
        experiment=experiment,
        served=next(iter(submit_plan.plan.models)) if kind.running_model else "",
        pool=spec,
        cluster=config.cluster,
        uid=os.getuid(),
        options=submit_plan.options,
        kill_wait_s=config.kill_wait_s,
        arrays=tuple(arrays),
        chained=submit_plan.options.max_parallel is not None,
        follow_ups=follow_ups(
            submit_plan.then,
            token,
            root=submit_plan.root.resolve(),
            options=submit_plan.options,
            rounds=submit_plan.rounds,
        ),
        then=submit_plan.then,
        rounds=submit_plan.rounds,
    )


async def submit(
    slurm: Slurm, store: SubmissionStore, submission: Submission, *, beside: Sequence[int] = ()
) -> dict[str, int]:
    """Write a submission down and have Slurm take all of it; return the job ids by name.

    Follow-ups wait for its arrays and for the jobs `beside` it, and take the place of those of
    earlier submissions that still wait: these would see half a study.
    """
    earlier = store.submissions()
    store.write(submission)
    token, before = submission.token, ""
    taken: dict[str, int] = {}
    for array in submission.arrays:
        waits = [f"--dependency=afterany:{before}"] if submission.chained and before else []
        taken[array.name] = await submit_once(
            slurm, array.name, [*waits, *array.arguments], since=submission.submitted_at
        )
        store.record_job(token, SubmittedJob(name=array.name, job=taken[array.name]))
        before = str(taken[array.name])
    after = ":".join(str(job) for job in dict.fromkeys((*beside, *taken.values())))
    for follow_up in submission.follow_ups:
        waits = [f"--dependency=afterany:{after}"] if after else []
        job = await submit_once(
            slurm, follow_up.name, [*waits, *follow_up.arguments], since=submission.submitted_at
        )
        store.record_job(token, SubmittedJob(name=follow_up.name, job=job))
        taken[follow_up.name], after = job, str(job)
    if submission.follow_ups:
        await _cancel_waiting(slurm, [job.name for each in earlier for job in each.follow_ups])
    return taken


async def _cancel_waiting(slurm: Slurm, names: Sequence[str]) -> None:
    """Cancel the jobs of these names that have not begun."""
    if names:
        waiting = [i for i in await slurm.queue(names) if state_of(i.state) == "pending"]
        await slurm.cancel([str(info.task) for info in waiting])


async def submit_once(slurm: Slurm, name: str, arguments: Sequence[str], *, since: str) -> int:
    """Submit a job; without a reply of Slurm's, look for the job's name before repeating."""
    pause_s = FIRST_PAUSE_S
    for attempt in range(ATTEMPTS):
        try:
            return await slurm.submit(arguments)
        except SlurmUnreachable as error:
            last_error = error
        await asyncio.sleep(pause_s)
        pause_s *= 2
        try:
            job = await find_job(slurm, name, since=since)
        except ClusterError as error:
            raise ClusterError(
                f"{last_error}; and Slurm does not say whether it took {name}. The same command "
                "finds out later: it submits only what is not in the queue"
            ) from error
        if job is not None:
            return job
        if attempt == ATTEMPTS - 1:
            break
    raise ClusterError(f"Slurm did not take {name}: {last_error}")


async def find_job(slurm: Slurm, name: str, *, since: str) -> int | None:
    """Return the id of the job with this name, from squeue or sacct."""
    for info in await slurm.queue([name]):
        return info.task.job
    started = datetime.fromisoformat(since) - CLOCK_SKEW
    accounting = await slurm.accounting([name], started.strftime("%Y-%m-%dT%H:%M:%S"))
    for info in accounting or ():
        return info.task.job
    return None
