"""How long a task will take: from earlier runs of the same cells, else from the analytic model."""

from collections.abc import Mapping
from pathlib import Path

from catalog.errors import BadValue
from orchestrator.cells import Run
from orchestrator.engines.simulated import serve, simulated_server
from orchestrator.plan import Plan, ServerGroup
from orchestrator.preview import START_S, VIRTUAL_RUN_S
from orchestrator.store import read_manifests
from slurm.parse import parse_duration, write_duration
from slurm.submission import TaskSpec
from strategies import parse_technique

TASK_START_S = 30.0
"""Python's start on a busy shared file system, records, clean-up."""
MARGIN = 1.5
"""What is asked of Slurm over what is expected; a limit that is given must hold the expectation."""
ROUND_S = 300.0


def measured_s(root: Path) -> dict[str, float]:
    """Return the longest measured duration of each cell that has runs in this directory."""
    longest: dict[str, float] = {}
    if not (root / "runs").is_dir():
        return longest
    for manifest in read_manifests(root):
        record = manifest.record
        if record.duration is not None and record.provenance == "measured":
            longest[record.cell_id] = max(longest.get(record.cell_id, 0.0), record.duration)
    return longest


class Estimator:
    """Estimates the tasks of a plan."""

    def __init__(self, plan: Plan, measured: Mapping[str, float]) -> None:
        self._plan, self._measured = plan, measured
        self._modelled: dict[str, float] = {}

    def task(self, group: ServerGroup, missing: tuple[Run, ...]) -> TaskSpec:
        """Estimate what is missing of a group."""
        runs_s = [self._run_s(group, run) for run in missing]
        known = [each for each in runs_s if each is not None]
        whole = len(known) == len(runs_s)
        start_s = TASK_START_S if group.setup.engine == "simulated" else TASK_START_S + START_S
        return TaskSpec(
            group_id=group.group_id,
            expected_s=start_s + sum(known) if whole else None,
            run_s=max(known, default=0.0) if whole else None,
        )

    def _run_s(self, group: ServerGroup, run: Run) -> float | None:
        setup = group.setup
        if setup.engine == "simulated":
            return VIRTUAL_RUN_S
        cell_id = run.cell.cell_id
        if cell_id in self._measured:
            return self._measured[cell_id]
        if setup.engine == "endpoint" or setup.hardware == "CPU":
            return None
        if not parse_technique(setup.technique).possible_on("simulated"):
            return None
        if cell_id not in self._modelled:
            on = simulated_server(group, self._plan.models[setup.model])
            self._modelled[cell_id] = float(serve(run, on).done_s.max())
        return self._modelled[cell_id]


def time_limit(asked: str | int | None, tasks: list[TaskSpec], lead_s: float) -> str | None:
    """Return the limit to ask for; one that a task is not expected to fit is refused."""
    expected = [task.expected_s for task in tasks if task.expected_s is not None]
    needed_s = max(expected, default=0.0)
    if asked is None:
        if len(expected) < len(tasks):
            return None
        wanted_s = MARGIN * needed_s + lead_s
        return write_duration(ROUND_S * (wanted_s // ROUND_S + 1))
    limit_s = parse_duration(str(asked))
    if limit_s is not None and needed_s > limit_s:
        longest = max(tasks, key=lambda task: task.expected_s or 0.0)
        told = f"at least {write_duration(needed_s)}, which {longest.group_id} is expected to take"
        raise BadValue("--time", str(asked), told)
    return str(asked)
