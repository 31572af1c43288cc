"""How long a task will take: from earlier runs and starts of the same, else from models of both."""

import math
from collections.abc import Iterable

from catalog.errors import BadValue
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.cells import Run
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.plan import Plan
from slurm.scheduler.parse import parse_duration, write_duration
from slurm.submit.earlier import NOTHING, Earlier, kind_of
from slurm.submit.needs import checkpoint_bytes
from slurm.submit.submission import TaskSpec

TASK_START_S = 30.0
"""Python's start on a busy shared file system, records, clean-up."""
READ_BYTES_PER_S = 1e9
"""An allowance: what one task may hope for of a file system that many read at once."""
MARGIN = 1.5
"""The time limit requested over the expected time; a limit of the user's must hold the latter."""
ROUND_S = 300.0
START_MARGIN, LEAST_START_S = 2.0, 300.0
"""A start may take so many times the longest one seen, or so long if that is more: the weights may
no longer be in the file system's cache."""


class Estimator:
    """Estimates the tasks of a plan."""

    def __init__(self, plan: Plan, earlier: Earlier = NOTHING) -> None:
        self._plan, self._starts = plan, earlier.starts
        self._measured: dict[str, float | None] = dict(earlier.runs_s)
        self._modelled: dict[str, float | None] = {}

    def task(self, group: ServerGroup, missing: tuple[Run, ...]) -> TaskSpec:
        """Estimate what is missing of a group."""
        runs_s = self._runs_s(group, missing)
        known = [each for each in runs_s if each is not None]
        whole = len(known) == len(runs_s)
        start_s = self._start_s(group)
        return TaskSpec(
            group_id=group.group_id,
            expected_s=start_s + sum(known) if whole else None,
            run_s=max(known, default=0.0) if whole else None,
            start_s=start_s,
        )

    def start_room_s(self, groups: Iterable[ServerGroup]) -> float:
        """Return the longest that a server may take to start beyond what is expected of it.

        A limit without it would end a task that moeserve itself would have waited for: as long as
        its start time-out, or where starts of such servers were seen, with a margin over those.
        """
        return max(
            (
                max(0.0, self._allowed_s(group) - self._start_s(group))
                for group in groups
                if engine_kind(group.setup.engine).start_s
            ),
            default=0.0,
        )

    def told_starts(self, groups: Iterable[ServerGroup]) -> list[str]:
        """Say of which servers' starts the limits rest on those that were seen."""
        of_kind = {kind_of(group): group for group in groups}
        return [
            f"{' '.join(kind[:2])}: {starts.count} earlier starts took up to "
            f"{write_duration(math.ceil(starts.longest_s))}; the limit allows "
            f"{write_duration(self._allowed_s(group))} for one"
            for kind, group in of_kind.items()
            if (starts := self._starts.get(kind)) and engine_kind(kind[0]).start_s
        ]

    def _allowed_s(self, group: ServerGroup) -> float:
        """Return how long a start may take, Python's own apart from it."""
        timeout_s = self._plan.experiment.server.start_timeout_s
        seen = self._starts.get(kind_of(group))
        if seen is None:
            return timeout_s
        return min(timeout_s, max(START_MARGIN * seen.longest_s, LEAST_START_S))

    def _start_s(self, group: ServerGroup) -> float:
        """Expect the longest start that was seen, else the engine's own and the weights' reading.

        These come through a shared file system.
        """
        kind_s = engine_kind(group.setup.engine).start_s
        if not kind_s:
            return TASK_START_S
        if seen := self._starts.get(kind_of(group)):
            return TASK_START_S + seen.longest_s
        dummy = self._plan.experiment.server.weights == "dummy"
        size = None if dummy else checkpoint_bytes(group, self._plan.models[group.setup.model])
        return TASK_START_S + kind_s + (size or 0.0) / READ_BYTES_PER_S

    def _runs_s(self, group: ServerGroup, runs: tuple[Run, ...]) -> list[float | None]:
        """Expect what was measured before; what was not is expected as the engine expects it."""
        kind, model = engine_kind(group.setup.engine), self._plan.models[group.setup.model]
        known = self._measured | self._modelled
        cells = {run.cell.cell_id: run for run in runs if run.cell.cell_id not in known}
        expected = kind.run_seconds(group, cells.values(), model)
        self._modelled |= dict(zip(cells, expected, strict=True))
        return [(self._measured | self._modelled)[run.cell.cell_id] for run in runs]


def time_limit(
    requested: str | int | None,
    tasks: list[TaskSpec],
    room_s: float,
    *,
    rounds: int = 0,
    lead_s: float = 0.0,
) -> str | None:
    """Return the limit to ask for, with `room_s` over the expected time and its margin.

    One that a task is not expected to fit is refused, in as many further `rounds` as there may be:
    `lead_s` before the limit a task begins nothing new, and the next round goes on from there.
    """
    expected = [task.expected_s for task in tasks if task.expected_s is not None]
    needed_s = max(expected, default=0.0)
    if requested is None:
        if len(expected) < len(tasks):
            return None
        padded_s = MARGIN * needed_s + room_s
        return write_duration(ROUND_S * (padded_s // ROUND_S + 1))
    limit_s = parse_duration(str(requested))
    if limit_s is not None and needed_s > limit_s:
        longest = max(tasks, key=lambda task: task.expected_s or 0.0)
        if rounds:
            _check_rounds(str(requested), longest, limit_s - lead_s, rounds)
            return str(requested)
        allowed = (
            f"at least {write_duration(needed_s)}, which {longest.group_id} is expected to take"
        )
        raise BadValue("--time", str(requested), allowed)
    return str(requested)


def _check_rounds(requested: str, task: TaskSpec, limit_s: float, rounds: int) -> None:
    """Refuse a limit in which a task does not get through in this many rounds after the first."""
    run_s, runs_s = task.run_s or 0.0, (task.expected_s or 0.0) - task.start_s
    usable_s = limit_s - task.start_s
    if usable_s < run_s:
        allowed = f"more: the start and one run of {task.group_id} take "
        allowed += f"{write_duration(task.start_s + run_s)}, beside the lead of the signal"
        raise BadValue("--time", requested, allowed)
    # A round ends with what no further run fits, so it does this much at least.
    at_least_s = max(run_s, usable_s - run_s)
    needed = math.ceil(runs_s / at_least_s) - 1
    if needed > rounds:
        allowed = f"--rounds {needed} for {task.group_id}, or a longer limit"
        raise BadValue("--time", f"{requested} with --rounds {rounds}", allowed)
