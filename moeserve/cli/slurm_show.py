"""What `moeserve slurm status` prints: tasks that need attention first, counts, failures."""

from collections import Counter
from datetime import UTC, datetime

from moeserve.cli.progress import LOG_LINES
from moeserve.cli.show import Format, note, show
from orchestrator.results.record import Row
from slurm.watch.progress import StudyProgress, progress
from slurm.watch.status import StudyStatus, TaskStatus

SHOWN = {
    "task": "task", "server_group": "server group", "state": "state", "failure": "failure",
    "runs_done": "done", "runs": "runs", "reason": "reason", "start": "start", "node": "node",
    "attempts": "attempts",
}  # fmt: skip
ATTENTION = ("unknown", "failed", "gone", "cancelled", "held back", "running", "pending", "done")
"""States in the order in which a table has room for them."""
MOST_ROWS, MOST_FAILURES = 60, 10


def by_attention(tasks: tuple[TaskStatus, ...]) -> list[TaskStatus]:
    """Sort tasks: what somebody should look at before what goes by itself."""
    return sorted(tasks, key=lambda task: ATTENTION.index(task.state))


def show_tasks(found: StudyStatus, output: Format, *, every: bool) -> None:
    """Print a row a task; a table has those that fit, unless all are asked for."""
    if output is not Format.table:
        show(map(_row, found.tasks), output)
        return
    tasks = list(found.tasks)
    whole = every or len(tasks) <= MOST_ROWS
    shown = tasks if whole else by_attention(found.tasks)[:MOST_ROWS]
    show(map(_row, shown), output, columns=SHOWN)
    if not whole:
        note(f"{len(tasks) - len(shown):,} more tasks: --all, or --format csv")
    _tell_failures(found)
    if found.silent:
        words = "; ".join(found.silent)
        note(f"Slurm does not say all ({words}): states that only it knows are unknown")
    for words in found.moved:
        note(words)
    note(now_of(found).told)


def show_counts(found: StudyStatus, output: Format) -> None:
    """Print one row: tasks by state, runs, their rate, the expected end."""
    stand = now_of(found)
    row: Row = {
        **{state.replace(" ", "_"): stand.states.get(state, 0) for state in ATTENTION},
        "runs": stand.runs,
        "runs_missing": stand.missing,
        "runs_per_hour": stand.runs_per_hour,
        "expected_end": stand.ends_at.isoformat(timespec="seconds") if stand.ends_at else None,
    }
    show([row], output)


def now_of(found: StudyStatus) -> StudyProgress:
    return progress(found, datetime.now(UTC))


def _row(task: TaskStatus) -> Row:
    return {
        "task": task.task_id,
        "submission": task.token,
        "server_group": task.group.group_id,
        "num_gpus": task.group.num_gpus,
        "state": task.state,
        "failure": task.failure,
        "runs_done": task.done,
        "runs": len(task.group.runs),
        "reason": task.reason,
        "start": task.start,
        "node": task.node,
        "attempts": task.attempts,
        "log": str(task.log or ""),
    }


def _tell_failures(found: StudyStatus) -> None:
    """Say of the first failures the end of their logs, and of the others how many there are."""
    failed = [task for task in found.tasks if task.state == "failed"]
    for task in failed[:MOST_FAILURES]:
        note(f"{task.task_id} {task.group.group_id}: {task.failure} (log: {task.log})")
        for line in task.log_tail().strip().splitlines()[-LOG_LINES:]:
            note(f"  | {line}")
    others = Counter(task.failure for task in failed[MOST_FAILURES:])
    if others:
        counted = ", ".join(f"{count} {name}" for name, count in others.most_common())
        note(f"and {sum(others.values())} more failed tasks: {counted}")
