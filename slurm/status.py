"""How every task stands: what it says itself first, then Slurm's word, else unknown."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from orchestrator.cells import Run
from orchestrator.plan import ServerGroup
from orchestrator.store import Store
from slurm.command import NoAnswer, Slurm
from slurm.journal import Entry, read_attempt, read_journal
from slurm.parse import Seen
from slurm.states import State, class_of, state_of
from slurm.submission import Desk, Submission
from slurm.submit import CLOCK_SKEW

TAIL_BYTES = 4000
ACTIVE = ("pending", "running")
ENDED: dict[str, tuple[State, str]] = {
    # It is done when its results can be seen, and they cannot.
    "done": ("unknown", "RESULTS_MISSING"),
    "failed": ("failed", "RUNS_FAILED"),
    "interrupted": ("failed", "TIME_LIMIT"),
    "terminated": ("failed", "TERMINATED"),
}
"""State and class by what a task said last."""
FAILURE_CODE = re.compile(r"[A-Z][A-Z_]+(?=:)")


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """One server group, as far as anybody knows."""

    token: str
    array: str
    job: int | None
    task: int
    group: ServerGroup
    state: State
    failure: str = ""
    """Class of what went wrong."""
    done: int = 0
    """Published runs."""
    reason: str = ""
    start: str = ""
    node: str = ""
    attempts: int = 0
    log: Path | None = None
    entries: tuple[Entry, ...] = field(default=(), repr=False)
    """What the last attempt said of itself."""

    @property
    def task_id(self) -> str:
        return "" if self.job is None else f"{self.job}_{self.task}"

    def log_tail(self) -> str:
        """The end of the task's output, or of its server's, without control characters."""
        told = next((entry.log_tail for entry in reversed(self.entries) if entry.log_tail), "")
        return told or (_tail(self.log) if self.log else "")


@dataclass(frozen=True, slots=True)
class Status:
    """All tasks, the newest submission of each server group; and the runs that are missing."""

    tasks: tuple[TaskStatus, ...]
    missing: tuple[Run, ...]
    answered: bool
    """False when Slurm did not: states that only it knows are unknown."""

    @property
    def active(self) -> tuple[TaskStatus, ...]:
        return tuple(each for each in self.tasks if each.state in ACTIVE)


@dataclass(frozen=True, slots=True)
class Told:
    """What Slurm said: its queue of what is active, its accounts of what has ended."""

    queue: Mapping[tuple[int, int], Seen]
    accounts: Mapping[tuple[int, int], Seen]
    jobs: Mapping[str, int]
    """Ids of jobs by name, those that were taken without our knowing included."""
    answered: bool

    def of(self, job: int, task: int) -> Seen | None:
        queued, kept = self.queue.get((job, task)), self.accounts.get((job, task))
        if queued is not None and (kept is None or state_of(queued.state) in ACTIVE):
            return queued
        # Accounts lag: what they still call active has ended if the queue says so.
        return queued if kept is not None and state_of(kept.state) in ACTIVE and queued else kept


async def status(slurm: Slurm, desk: Desk) -> Status:
    """Look at all tasks of a results directory."""
    submissions = desk.submissions()
    if not submissions:
        return Status((), (), answered=True)
    finished = Store(desk.root).finished()
    told = await ask(slurm, submissions)
    newest: dict[str, TaskStatus] = {}
    missing: dict[str, Run] = {}
    for submission in submissions:
        plan = submission.plan()
        groups = {group.group_id: group for group in plan.groups}
        missing |= {run.run_id: run for run in plan.runs if run.run_id not in finished}
        for task in _tasks(desk, submission, groups, told, finished):
            before = newest.get(task.group.group_id)
            if before is None or before.state not in ACTIVE or task.state in ACTIVE:
                newest[task.group.group_id] = task
    return Status(tuple(newest.values()), tuple(missing.values()), told.answered)


async def ask(slurm: Slurm, submissions: Iterable[Submission]) -> Told:
    """Ask queue and accounts once for all submissions."""
    listed = list(submissions)
    names = [array.name for each in listed for array in each.arrays]
    since = min(datetime.fromisoformat(each.submitted_at) for each in listed) - CLOCK_SKEW
    try:
        queue = await slurm.queue(names)
        accounts = await slurm.accounts(names, since.strftime("%Y-%m-%dT%H:%M:%S")) or []
    except NoAnswer:
        return Told({}, {}, {}, answered=False)
    jobs = {seen.name: seen.task.job for seen in (*accounts, *queue)}
    return Told(_by_task(queue), _by_task(accounts), jobs, answered=True)


def _by_task(seen: Iterable[Seen]) -> dict[tuple[int, int], Seen]:
    return {(e.task.job, e.task.task): e for e in seen if e.task.task is not None}


def _tasks(
    desk: Desk,
    submission: Submission,
    groups: Mapping[str, ServerGroup],
    told: Told,
    finished: set[str],
) -> Iterable[TaskStatus]:
    accepted = desk.accepted(submission.token)
    journals = journals_of(desk, submission.token)
    for array in submission.arrays:
        job = accepted.get(array.name, told.jobs.get(array.name))
        for index, spec in enumerate(array.tasks):
            group = groups[spec.group_id]
            paths = journals.get((job or 0, index), [])
            logs = desk.folder / submission.token / "logs"
            yield judge(
                TaskStatus(
                    token=submission.token,
                    array=array.name,
                    job=job,
                    task=index,
                    group=group,
                    state="unknown",
                    done=sum(run.run_id in finished for run in group.runs),
                    attempts=len(paths),
                    log=logs / f"{job}_{index}.log",
                    entries=tuple(read_journal(paths[-1])) if paths else (),
                ),
                told.of(job, index) if job is not None else None,
                answered=told.answered,
            )


def journals_of(desk: Desk, token: str) -> dict[tuple[int, int], list[Path]]:
    """Return the journals of each task, the newest incarnation last."""
    found: dict[tuple[int, int], list[tuple[int, float, Path]]] = {}
    for path in (desk.folder / token / "tasks").glob("*.jsonl"):
        named = read_attempt(path)
        if named is not None:
            job, task, restart = named
            found.setdefault((job, task), []).append((restart, path.stat().st_mtime, path))
    return {key: [path for *_, path in sorted(listed)] for key, listed in found.items()}


def judge(task: TaskStatus, seen: Seen | None, *, answered: bool) -> TaskStatus:
    """Decide a task's state from its own records, then from what Slurm said of it."""
    if seen is not None:
        task = replace(task, reason=seen.reason, start=seen.start, node=seen.node)
    started = next((entry for entry in task.entries if entry.event == "started"), None)
    if started is not None:
        task = replace(task, node=started.node)
    if task.done == len(task.group.runs):
        return replace(task, state="done", reason="")
    slurm_state = state_of(seen.state) if seen else "unknown"
    if slurm_state in ACTIVE:
        return replace(task, state=slurm_state)
    ended = next((entry for entry in task.entries if entry.event == "ended"), None)
    if ended is not None:
        state, failure = ENDED.get(ended.verdict, ("failed", "FAILED"))
        return replace(task, state=state, failure=_failure(task, failure, seen), reason="")
    if seen is not None:
        failure = class_of(seen.state, seen.exit_code, task.log_tail())
        state = "failed" if slurm_state == "unknown" and failure != "UNKNOWN" else slurm_state
        return replace(task, state=state, failure=failure)
    if task.job is None and answered:
        return replace(task, state="held back", reason="Slurm has not taken it")
    return task


def _failure(task: TaskStatus, failure: str, seen: Seen | None) -> str:
    """Prefer the most telling class: of the server that failed, or of the order to end."""
    if failure == "RUNS_FAILED":
        for entry in reversed(task.entries):
            match = FAILURE_CODE.match(entry.text) if entry.event == "group_failed" else None
            if match:
                return match[0]
    if failure == "TERMINATED" and seen is not None:
        named = class_of(seen.state, seen.exit_code, "")
        return named if named not in ("FAILED", "UNKNOWN", "NO_RECORD") else failure
    return failure


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)
