"""Submit what is missing: planned, written down, and asked of Slurm once, whatever it answers."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from catalog.errors import ClusterError
from orchestrator.plan import Plan, Pool, ServerGroup
from orchestrator.store import Store
from slurm.arrays import array_arguments, bookkeeping, by_need, program, resources
from slurm.command import Limits, NoAnswer, Slurm
from slurm.estimate import Estimator, measured_s, time_limit
from slurm.options import Options
from slurm.parse import parse_duration
from slurm.remote import pool_of
from slurm.submission import (
    Accepted,
    ArraySpec,
    Desk,
    FollowUp,
    PoolSpec,
    Submission,
    new_token,
)

FOLLOW_UP_LIMIT = "1:00:00"
ATTEMPTS = 4
FIRST_PAUSE_S = 2.0
CLOCK_SKEW = timedelta(hours=26)
"""How far back accounts are searched: clocks and time zones of hosts differ."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A submission, and what there was no room for."""

    submission: Submission
    held_back: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be submitted and how."""

    plan: Plan
    engine: str
    options: Options
    root: Path
    then: tuple[str, ...] = ()


def missing_of(plan: Plan, root: Path) -> list[ServerGroup]:
    """Return the groups with runs that are not published yet."""
    finished = Store(root).finished() if root.is_dir() else set()
    return [g for g in plan.groups if any(run.run_id not in finished for run in g.runs)]


def draft(asked: Asked, groups: Sequence[ServerGroup], limits: Limits, *, queued: int) -> Draft:
    """Turn server groups into arrays that this Slurm takes, `queued` of ours being in its queue."""
    options, root = asked.options, asked.root.resolve()
    room = max(0, min(options.max_submit or limits.max_job_count, limits.max_job_count) - queued)
    chosen, token = list(groups)[:room], new_token()
    estimator = Estimator(asked.plan, measured_s(root))
    finished = Store(root).finished() if root.is_dir() else set()
    arrays: list[ArraySpec] = []
    for need, listed in by_need(
        chosen, options, asked.plan.experiment.ray, longest=limits.max_array_size
    ):
        tasks = [
            estimator.task(g, tuple(run for run in g.runs if run.run_id not in finished))
            for g in listed
        ]
        limit = time_limit(options.time, tasks, options.signal_lead_s)
        name = f"moeserve-{token}-{len(arrays)}"
        arguments = [
            *array_arguments(
                count=len(tasks),
                name=name,
                token=token,
                root=root,
                options=options,
                lead_s=_lead_s(options.signal_lead_s, limit),
            ),
            *resources(need, options),
            *([f"--time={limit}"] if limit else []),
            *options.sbatch,
            *program(sys.executable, root, options, _task_words(root, token, len(arrays))),
        ]
        arrays.append(ArraySpec(name=name, arguments=tuple(arguments), tasks=tuple(tasks)))
    submission = _submission(asked, token, arrays, limits)
    return Draft(submission, len(groups) - len(chosen))


def _lead_s(asked_s: int, limit: str | None) -> int:
    """Return how long before the limit a task is told: no more than half of its time."""
    limit_s = parse_duration(limit) if limit else None
    return asked_s if limit_s is None else min(asked_s, int(limit_s / 2))


def _task_words(root: Path, token: str, array: int) -> list[str]:
    return ["-P", "-m", "slurm.task", str(root), token, str(array)]


def _submission(
    asked: Asked, token: str, arrays: Sequence[ArraySpec], limits: Limits
) -> Submission:
    experiment = asked.plan.experiment
    spec = None
    if asked.engine == "vllm":
        pool = pool_of(experiment, asked.options) or Pool("CPU")
        spec = PoolSpec(hardware=pool.hardware, gpus_per_node=dict(pool.gpus_per_node))
    return Submission(
        token=token,
        submitted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        engine=asked.engine,
        experiment=experiment,
        served=next(iter(asked.plan.models)) if asked.engine == "endpoint" else "",
        pool=spec,
        options=asked.options,
        kill_wait_s=limits.kill_wait_s,
        arrays=tuple(arrays),
        chained=asked.options.max_parallel is not None,
        follow_ups=_follow_ups(asked, token),
    )


def _follow_ups(asked: Asked, token: str) -> tuple[FollowUp, ...]:
    """Return the jobs that come after the arrays: each a command of moeserve's own."""
    root, options = asked.root.resolve(), asked.options
    commands = {
        "collect": ["slurm", "collect", str(root)],
        "report": ["report", str(root), "-o", str(root / "report.html")],
    }
    found = []
    for what in asked.then:
        name = f"moeserve-{token}-{what}"
        words = program(sys.executable, root, options, ["-P", "-m", "moeserve", *commands[what]])
        place = {"partition": options.partition, "account": options.account, "qos": options.qos,
                 "mem": options.memory}  # fmt: skip
        arguments = [
            *bookkeeping(name, token, root, options),
            *(f"--{option}={value}" for option, value in place.items() if value is not None),
            "--nodes=1",
            "--ntasks=1",
            f"--time={FOLLOW_UP_LIMIT}",
            f"--output=slurm/{token}/logs/{what}.log",
            *options.sbatch,
            *words,
        ]
        found.append(FollowUp(name=name, arguments=tuple(arguments)))
    return tuple(found)


async def submit(slurm: Slurm, desk: Desk, submission: Submission) -> dict[str, int]:
    """Write a submission down and have Slurm take all of it; return the job ids by name."""
    desk.file(submission)
    token, before = submission.token, ""
    taken: dict[str, int] = {}
    for array in submission.arrays:
        waits = [f"--dependency=afterany:{before}"] if submission.chained and before else []
        taken[array.name] = await submit_once(
            slurm, array.name, [*waits, *array.arguments], since=submission.submitted_at
        )
        desk.accept(token, Accepted(name=array.name, job=taken[array.name]))
        before = str(taken[array.name])
    after = ":".join(str(job) for job in taken.values())
    for follow_up in submission.follow_ups:
        waits = [f"--dependency=afterany:{after}"] if after else []
        job = await submit_once(
            slurm, follow_up.name, [*waits, *follow_up.arguments], since=submission.submitted_at
        )
        desk.accept(token, Accepted(name=follow_up.name, job=job))
        taken[follow_up.name], after = job, str(job)
    return taken


async def submit_once(slurm: Slurm, name: str, arguments: Sequence[str], *, since: str) -> int:
    """Submit a job; when nobody knows whether Slurm took it, look for its name before repeating."""
    pause_s = FIRST_PAUSE_S
    for attempt in range(ATTEMPTS):
        try:
            return await slurm.submit(arguments)
        except NoAnswer as error:
            doubt = error
        await asyncio.sleep(pause_s)
        pause_s *= 2
        try:
            job = await find(slurm, name, since=since)
        except NoAnswer as error:
            raise ClusterError(
                f"{doubt}; and Slurm does not say whether it took {name}. The same command finds "
                "out later: it submits only what is not in the queue"
            ) from error
        if job is not None:
            return job
        if attempt == ATTEMPTS - 1:
            break
    raise ClusterError(f"Slurm did not take {name}: {doubt}")


async def find(slurm: Slurm, name: str, *, since: str) -> int | None:
    """Return the id of the job with this name, from the queue or from the accounts."""
    for seen in await slurm.queue([name]):
        return seen.task.job
    started = datetime.fromisoformat(since) - CLOCK_SKEW
    accounts = await slurm.accounts([name], started.strftime("%Y-%m-%dT%H:%M:%S"))
    for seen in accounts or ():
        return seen.task.job
    return None
