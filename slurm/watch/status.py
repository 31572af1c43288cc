"""The state of every task: from its own journal first, then from Slurm, else unknown."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from catalog.errors import BadFile, ClusterError
from catalog.inside import open_inside
from catalog.secrets import redact
from orchestrator.experiment.cells import Run
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.results.store import Store
from slurm.job.journal import JournalEntry, read_attempt, read_journal
from slurm.scheduler.command import Slurm
from slurm.scheduler.parse import JobInfo
from slurm.scheduler.states import ACTIVE, State, class_of, state_of, unknown_because
from slurm.submit.submission import Submission, SubmissionStore
from slurm.watch.jobs import SlurmJobs, query_jobs
from slurm.watch.moved import homes, is_copy, told_of

TAIL_BYTES = 4000
ENDED: dict[str, tuple[State, str]] = {
    # It is done when its results can be seen, and they cannot.
    "done": ("failed", "RESULTS_MISSING"),
    "failed": ("failed", "RUNS_FAILED"),
    "interrupted": ("failed", "TIME_LIMIT"),
    "terminated": ("failed", "TERMINATED"),
}
"""State and class of failure by the verdict of a task's journal."""
FAILURE_CODE = re.compile(r"[A-Z][A-Z_]+(?=:)")


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """The state of one server group's task."""

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
    entries: tuple[JournalEntry, ...] = field(default=(), repr=False)
    """The journal of the last attempt."""

    @property
    def task_id(self) -> str:
        return "" if self.job is None else f"{self.job}_{self.task}"

    def log_tail(self) -> str:
        """The end of the task's output, or of its server's, without control characters."""
        tail = next((entry.log_tail for entry in reversed(self.entries) if entry.log_tail), "")
        return tail or (_tail(self.log) if self.log else "")


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """All tasks, the newest submission of each server group; and the runs that are missing."""

    tasks: tuple[TaskStatus, ...]
    missing: tuple[Run, ...]
    unsubmitted: tuple[ServerGroup, ...] = ()
    """Groups with runs missing that no task was ever submitted for: there was no room."""
    silent: tuple[str, ...] = ()
    """The words of each command of Slurm's that was asked and told nothing."""
    homes: Mapping[str, Path] = field(default_factory=dict)
    """By token, in which other directory a submission's tasks work."""

    @property
    def moved(self) -> tuple[str, ...]:
        """What is to say of tasks at work that do not work for this directory."""
        tokens = dict.fromkeys(task.token for task in self.active)
        return tuple(told_of(t, self.homes[t]) for t in tokens if t in self.homes)

    @property
    def active(self) -> tuple[TaskStatus, ...]:
        return tuple(each for each in self.tasks if each.state in ACTIVE)

    @property
    def unknown(self) -> tuple[TaskStatus, ...]:
        """Tasks that may be waiting or running, for all that is known."""
        return tuple(each for each in self.tasks if each.state == "unknown")

    def check_known(self, left_undone: str, groups: Collection[str] | None = None) -> None:
        """Refuse to go on, ClusterError, while it is unknown where a task of these groups is.

        What a copied directory's tasks do is known where it was copied from.
        """
        if any(task.token in self.homes and is_copy(task.token, self.homes[task.token])
               for task in self.active):  # fmt: skip
            raise ClusterError(f"{'; '.join(self.moved)}: {left_undone}")
        unknown = [t for t in self.unknown if groups is None or t.group.group_id in groups]
        if not unknown:
            return
        words = self.silent or sorted({t.reason for t in unknown if t.reason})
        raise ClusterError(
            f"Slurm does not say whether {len(unknown)} of {len(self.tasks)} tasks wait, run or "
            f"have ended ({'; '.join(words)}): {left_undone}. The same command goes on once it "
            "does; on a node that it does not answer, use a login node"
        )


async def status(slurm: Slurm, store: SubmissionStore) -> StudyStatus:
    """Look at all tasks of a results directory."""
    submissions = store.submissions()
    if not submissions:
        return StudyStatus((), ())
    finished = Store(store.root).finished()
    plans = [submission.plan() for submission in submissions]
    done = {g.group_id for plan in plans for g in plan.groups if _all_done(g, finished)}
    job_ids = {name: job for s in submissions for name, job in store.job_ids(s.token).items()}
    slurm_jobs = await query_jobs(slurm, submissions, job_ids, done)
    newest: dict[str, TaskStatus] = {}
    missing: dict[str, Run] = {}
    for submission, plan in zip(submissions, plans, strict=True):
        groups = {group.group_id: group for group in plan.groups}
        missing |= {run.run_id: run for run in plan.runs if run.run_id not in finished}
        for task in _tasks(store, submission, groups, job_ids, slurm_jobs, finished):
            before = newest.get(task.group.group_id)
            if before is None or _rank(task) >= _rank(before):
                newest[task.group.group_id] = task
    groups = {group.group_id: group for plan in plans for group in plan.groups}
    seen = {*newest, *done}
    unsubmitted = tuple(g for name, g in groups.items() if name not in seen)
    return StudyStatus(
        tuple(newest.values()),
        tuple(missing.values()),
        unsubmitted,
        slurm_jobs.silent,
        homes(store.root, submissions),
    )


def _rank(task: TaskStatus) -> int:
    """Of a group's tasks the last that is active counts, then the last that may be."""
    return 2 if task.state in ACTIVE else int(task.state == "unknown")


def _all_done(group: ServerGroup, finished: set[str]) -> bool:
    return all(run.run_id in finished for run in group.runs)


def _tasks(
    store: SubmissionStore,
    submission: Submission,
    groups: Mapping[str, ServerGroup],
    job_ids: Mapping[str, int],
    slurm_jobs: SlurmJobs,
    finished: set[str],
) -> Iterable[TaskStatus]:
    journals = journals_of(store, submission.token)
    for array in submission.arrays:
        job = job_ids.get(array.name, slurm_jobs.jobs.get(array.name))
        specs = [(index, spec) for index, each in array.by_index.items() for spec in each]
        for index, spec in specs:
            group = groups[spec.group_id]
            paths = journals.get((job or 0, index), [])
            logs = store.folder / submission.token / "logs"
            entries = _of_group(group, read_journal(paths[-1])) if paths else ()
            yield decide_state(
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
                    entries=entries,
                ),
                slurm_jobs.info_of(job, index, array.name),
                known=slurm_jobs.knows(job, index, array.name, ended=_ended(entries) is not None),
            )


def _of_group(group: ServerGroup, entries: Iterable[JournalEntry]) -> tuple[JournalEntry, ...]:
    """Leave out what a task's journal says of other groups beside this one on its node."""
    runs = {"", *(run.run_id for run in group.runs)}
    return tuple(e for e in entries if e.run_id in runs and e.group in ("", group.group_id))


def journals_of(store: SubmissionStore, token: str) -> dict[tuple[int, int], list[Path]]:
    """Return the journals of each task, the newest incarnation last."""
    found: dict[tuple[int, int], list[tuple[int, float, Path]]] = {}
    for path in (store.folder / token / "tasks").glob("*.jsonl"):
        named = read_attempt(path)
        if named is not None:
            job, task, restart = named
            found.setdefault((job, task), []).append((restart, path.stat().st_mtime, path))
    return {key: [path for *_, path in sorted(listed)] for key, listed in found.items()}


def decide_state(task: TaskStatus, info: JobInfo | None, *, known: bool) -> TaskStatus:
    """Decide a task's state from its own journal, then from Slurm's report.

    `known` is false where somebody was not heard who might say that it waits or runs.
    """
    if info is not None:
        task = replace(task, reason=info.reason, start=info.start, node=info.node)
    started = next((entry for entry in task.entries if entry.event == "started"), None)
    if started is not None:
        task = replace(task, node=started.node)
    if task.done == len(task.group.runs):
        return replace(task, state="done", reason="")
    slurm_state = state_of(info.state) if info else "unknown"
    if slurm_state in ACTIVE:
        return replace(task, state=slurm_state)
    ended = _ended(task.entries)
    if ended is not None:
        state, failure = ENDED.get(ended.verdict, ("failed", "FAILED"))
        found = replace(task, failure=_failure(task, failure, info), reason="")
        # A task that was told to end may have been put back into the queue.
        return replace(found, state=state) if known else found
    return _by_slurm_alone(task, info, known=known)


def _by_slurm_alone(task: TaskStatus, info: JobInfo | None, *, known: bool) -> TaskStatus:
    """Decide the state of a task that has not said itself how it ended."""
    failure = class_of(info.state, info.exit_code, task.log_tail()) if info else ""
    if not known:
        return replace(task, failure=failure)
    if info is None and task.job is None:
        return replace(task, state="held back", reason="Slurm has not taken it")
    if info is None:
        return replace(task, state="gone", failure="NO_RECORD", reason="Slurm no longer knows it")
    if failure == "UNKNOWN":
        return replace(task, failure=failure, reason=unknown_because(info.state))
    slurm_state = state_of(info.state)
    return replace(
        task, state="failed" if slurm_state == "unknown" else slurm_state, failure=failure
    )


def _ended(entries: Iterable[JournalEntry]) -> JournalEntry | None:
    return next((entry for entry in entries if entry.event == "ended"), None)


def _failure(task: TaskStatus, failure: str, info: JobInfo | None) -> str:
    """Prefer the most telling class: of the server that failed, or of the order to end."""
    if failure == "RUNS_FAILED":
        for entry in reversed(task.entries):
            told = entry.event in ("group_failed", "ended")
            match = FAILURE_CODE.match(entry.text) if told else None
            if match:
                return match[0]
    if failure == "TERMINATED" and info is not None:
        named = class_of(info.state, info.exit_code, "")
        return named if named not in ("FAILED", "UNKNOWN", "NO_RECORD") else failure
    return failure


def _tail(path: Path) -> str:
    try:
        with open_inside(path.parent, path.name) as file:
            file.seek(max(0, path.lstat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except (OSError, BadFile):
        return ""
    return redact("".join(char if char.isprintable() or char in "\n\t" else " " for char in text))
