"""Schedules server groups on a cluster: longest first, several at once, a lost one again."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.cluster.connection import HeadMonitor, current_nodes
from orchestrator.cluster.engine import RayEngine
from orchestrator.cluster.makespan import (
    GroupInterval,
    GroupTask,
    Schedule,
    longest_first,
    lower_bound_s,
)
from orchestrator.cluster.multinode_args import uses_ray_executor
from orchestrator.cluster.node_pool import AVOID_AFTER
from orchestrator.cluster.placement_groups import (
    FIRST_TIMEOUT_S,
    MAX_TIMEOUT_S,
    PlacementFailed,
    ServerPlacement,
    reserve,
)
from orchestrator.cluster.resources import ResourceRequest
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.nodes import Node, summarise_nodes
from orchestrator.measure.failures import is_retryable
from orchestrator.run.events import Notice
from orchestrator.run.runner import Runner

POLL_S, RETRY_S = 1.0, 0.1


@dataclass(slots=True)
class PendingGroup:
    """A group that is still to be started, once more or for the first time."""

    group: ServerGroup
    request: ResourceRequest
    expected_s: float | None
    starts_left: int
    since_s: float = field(default_factory=time.monotonic)
    """When it began to wait for nodes."""
    placement_timeout_s: float = FIRST_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class _RunningGroup:
    """One start of a group, and where it runs."""

    pending: PendingGroup
    placement: ServerPlacement | PlacementFailed
    started_s: float


class GroupScheduler:
    """Starts groups of a runner as nodes come free."""

    def __init__(
        self,
        runner: Runner,
        engine: RayEngine,
        pending: Sequence[PendingGroup],
        head: HeadMonitor,
    ) -> None:
        self._runner, self._engine, self._head = runner, engine, head
        self._pending = _longest_first(pending)
        args = runner.plan.experiment.server.args
        self._hold_gpus = not uses_ray_executor(args)
        self._running: dict[asyncio.Task[bool], _RunningGroup] = {}
        self._began_s = time.monotonic()
        self._began_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._intervals: list[GroupInterval] = []
        self._tasks: list[GroupTask] = []
        self._avoided: list[str] = []

    async def run(self) -> None:
        """Start everything; ClusterError when the cluster itself is gone."""
        try:
            while (self._pending and not self._runner.stop.is_set()) or self._running:
                await self._head.check()
                refused = False
                if self._pending and not self._runner.stop.is_set():
                    refused = await self._start_fitting()
                await self._wait_for_ended(RETRY_S if refused else POLL_S)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            for running in self._running.values():
                if isinstance(running.placement, ServerPlacement):
                    running.placement.release()

    def schedule(self, predicted_s: float | None) -> Schedule:
        """Return the schedule as it was, beside the prediction and the bound."""
        pool = self._engine.node_pool
        share = self._runner.plan.experiment.ray.share_nodes
        return Schedule(
            started_at=self._began_at,
            predicted_s=predicted_s,
            measured_s=time.monotonic() - self._began_s,
            lower_bound_s=lower_bound_s(self._tasks, list(pool.nodes.values()), share=share),
            avoided_nodes=tuple(self._avoided),
            intervals=tuple(self._intervals),
        )

    async def _start_fitting(self) -> bool:
        """Start what fits the free nodes; True if Ray refused a group that fits the node pool."""
        pool, nodes = self._engine.node_pool, await current_nodes()
        if nodes is None:
            return False
        pool.update(nodes)
        refused = False
        for pending in list(self._pending):
            if candidates := pool.fitting(pending.request):
                placement = await self._reserve(pending, candidates)
                if placement is not None:
                    self._start(pending, placement)
                    continue
                refused = True
            if failed := self._placement_failed(pending):
                self._start(pending, failed)
            elif len(pending.request.gpus_by_node) > 1:
                break  # smaller ones would starve it
        return refused

    async def _reserve(
        self, pending: PendingGroup, candidates: Sequence[Node]
    ) -> ServerPlacement | None:
        """Ask Ray for a placement group, longer at each refusal."""
        placement = await reserve(
            pending.request,
            candidates,
            name=f"{self._engine.namespace}.{pending.group.group_id}",
            limit_s=pending.placement_timeout_s,
            gpus=self._hold_gpus,
        )
        if placement is None:
            longer_s = 2 * pending.placement_timeout_s
            pending.placement_timeout_s = min(longer_s, MAX_TIMEOUT_S)
        return placement

    def _placement_failed(self, pending: PendingGroup) -> PlacementFailed | None:
        """Return why a group cannot be placed any more; None while it may still be."""
        pool, limit_s = self._engine.node_pool, self._runner.plan.experiment.ray.wait_s
        if not pool.could_fit(pending.request) and self._avoided:
            return PlacementFailed(
                f"BAD_NODES: needs {pending.request}; after {AVOID_AFTER} failures each these are "
                f"avoided: {', '.join(self._avoided)}"
            )
        if self._running and pool.could_fit(pending.request):
            pending.since_s = time.monotonic()  # it waits for our own groups
        if time.monotonic() - pending.since_s <= limit_s:
            return None
        return PlacementFailed(
            f"RAY_WAIT_TIMEOUT: no room for {pending.request} within {limit_s:.0f} s, there are "
            f"{summarise_nodes(pool.nodes.values())}: somebody else holds them, or they are gone; "
            "a longer --ray-wait waits for them"
        )

    def _start(self, pending: PendingGroup, placement: ServerPlacement | PlacementFailed) -> None:
        self._pending.remove(pending)
        if isinstance(placement, ServerPlacement):
            self._engine.node_pool.acquire(pending.request, placement.node_ids)
        self._engine.placements[pending.group.group_id] = placement
        pending.starts_left -= 1
        work = self._runner.start(pending.group, last=pending.starts_left == 0)
        started = _RunningGroup(pending, placement, time.monotonic())
        self._running[asyncio.ensure_future(work)] = started

    async def _wait_for_ended(self, limit_s: float) -> None:
        """Wait until a group has ended, at most so long."""
        if not self._running:
            await asyncio.sleep(limit_s)
            return
        done, _ = await asyncio.wait(
            self._running, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            running = self._running.pop(task)
            pending, placement = running.pending, running.placement
            if isinstance(placement, ServerPlacement):
                placement.release()
                self._engine.node_pool.release(pending.request, placement.node_ids)
                self._record_interval(pending, placement, running.started_s)
                self._record_failure(pending, placement)
            if task.result() and pending.starts_left:
                pending.since_s = time.monotonic()
                self._pending = _longest_first([*self._pending, pending])

    def _record_failure(self, pending: PendingGroup, placement: ServerPlacement) -> None:
        """Count a failure that another start may not meet against its nodes."""
        error = self._engine.failures.pop(pending.group.group_id, None)
        if error is None or not is_retryable(error):
            return
        for node in self._engine.node_pool.record_failure(placement.node_ids):
            self._avoided.append(node.name)
            self._runner.listen(Notice(f"{node.name} is avoided after {AVOID_AFTER} failures"))

    def _record_interval(
        self, pending: PendingGroup, placement: ServerPlacement, started_s: float
    ) -> None:
        now_s = time.monotonic()
        task = GroupTask(pending.group.replicate, pending.request, now_s - started_s)
        self._tasks.append(task)
        self._intervals.append(
            GroupInterval(
                group=pending.group.group_id,
                nodes=tuple(node.name for node in placement.nodes),
                started_s=started_s - self._began_s,
                ended_s=now_s - self._began_s,
                expected_s=pending.expected_s,
            )
        )


def _longest_first(pending: Sequence[PendingGroup]) -> list[PendingGroup]:
    tasks = [GroupTask(p.group.replicate, p.request, p.expected_s or 0.0) for p in pending]
    return [pending[index] for index in longest_first(tasks)]
