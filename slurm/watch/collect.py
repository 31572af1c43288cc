"""Join what the tasks left: failures that only Slurm knows are recorded, the rest is counted."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from catalog.errors import ClusterError
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.measure.failure_table import lasting
from orchestrator.results.manifests import Manifest
from orchestrator.results.store import Store
from orchestrator.run.outcome import failed_record, identity_of
from slurm.scheduler.nodes import parse_nodes
from slurm.scheduler.states import ACTIVE
from slurm.watch.status import StudyStatus, TaskStatus

FAILURES = ("failed", "cancelled")


@dataclass(frozen=True, slots=True)
class CollectResult:
    """Counts of a results directory after collection."""

    published: int
    missing: int
    recorded: int
    """Failures that were written down now."""
    retry: tuple[ServerGroup, ...]
    """Server groups with missing runs of which no task is waiting or running."""
    lasting: frozenset[str]
    """Of these the ids of groups whose failure another start would meet again."""
    bad_nodes: tuple[str, ...]
    """Nodes on which a task was lost or found no clean GPU."""


def collect(root: Path, status: StudyStatus) -> CollectResult:
    """Write down what tasks could not say themselves; doing it again changes nothing.

    ClusterError, and nothing is written, while it is unknown whether a task waits or runs.
    """
    status.check_known("nothing was collected or submitted again")
    store = Store(root)
    finished = store.finished()
    recorded = sum(_record(store, task, finished) for task in status.tasks)
    retry = [each for each in status.tasks if each.state not in (*ACTIVE, "done")]
    return CollectResult(
        published=len(finished),
        missing=len(status.missing),
        recorded=recorded,
        retry=(*(each.group for each in retry), *status.unsubmitted),
        lasting=frozenset(each.group.group_id for each in retry if lasting(each.failure)),
        bad_nodes=bad_nodes(status.tasks),
    )


def bad_nodes(tasks: tuple[TaskStatus, ...]) -> tuple[str, ...]:
    """Return nodes whose own fault failed tasks, worst first."""
    node_failures = ("NODE_FAIL", "GPU_NOT_CLEAN", "WRONG_GPU")
    failed = (task for task in tasks if task.failure in node_failures)
    counted = Counter(node for task in failed for node in parse_nodes(task.node))
    return tuple(node for node, _ in counted.most_common())


def _record(store: Store, task: TaskStatus, finished: set[str]) -> int:
    """Record the run that a task was busy with when it ended without a word."""
    if task.state not in FAILURES or any(entry.event == "ended" for entry in task.entries):
        return 0
    marker = f"{task.token}-{task.task_id}-{task.attempts}"
    done = {entry.run_id for entry in task.entries if entry.event == "run_finished"}
    begun = [entry.run_id for entry in task.entries if entry.event == "run_started"]
    in_hand = [run_id for run_id in begun if run_id not in done and run_id not in finished]
    run = next((each for each in task.group.runs if each.run_id in in_hand[-1:]), None)
    if run is None or _already_recorded(store, run.run_id, marker):
        return 0
    attempt, _ = store.new_attempt(run.run_id)
    started_at = next(entry.at for entry in task.entries)
    error = ClusterError(f"{task.failure}: {task.reason or 'the task ended without a word'}")
    identity = identity_of(
        run, task.group, None, attempt=attempt, started_at=started_at, server_group=""
    )
    record = failed_record(error, "failed", identity=identity)
    record = msgspec.structs.replace(record, verdict_reasons=task.failure)
    details = {"slurm": {"collected": marker, "node": task.node}, "log_tail": task.log_tail()}
    store.record_failure(Manifest(record=record, details=details))
    return 1


def _already_recorded(store: Store, run_id: str, marker: str) -> bool:
    return any(marker.encode() in found for found in store.failed_attempts(run_id))
