"""Several server groups at once: longest first, each on nodes of its own, a lost one again."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.cluster.connection import Head, nodes_now
from orchestrator.cluster.engine import RayEngine
from orchestrator.cluster.makespan import Piece, Schedule, Stay, longest_first, lower_bound_s
from orchestrator.cluster.need import Need
from orchestrator.cluster.nodes import told
from orchestrator.cluster.parts import uses_ray_executor
from orchestrator.cluster.placing import FIRST_S, MOST_S, Placed, place
from orchestrator.cluster.yard import BAD_AFTER
from orchestrator.events import Notice
from orchestrator.failures import may_pass
from orchestrator.plan import ServerGroup
from orchestrator.run import Runner

LOOK_S, AGAIN_S = 1.0, 0.1


@dataclass(slots=True)
class Waiting:
    """A group that is still to be started, once more or for the first time."""

    group: ServerGroup
    need: Need
    expected_s: float | None
    starts_left: int
    since_s: float = field(default_factory=time.monotonic)
    patience_s: float = FIRST_S


class Dispatcher:
    """Starts groups of a runner as nodes come free."""

    def __init__(
        self,
        runner: Runner,
        engine: RayEngine,
        waiting: Sequence[Waiting],
        head: Head,
    ) -> None:
        self._runner, self._engine, self._head = runner, engine, head
        self._waiting = _ordered(waiting)
        args = runner.plan.experiment.server.args
        self._hold_gpus = not uses_ray_executor(args)
        self._running: dict[asyncio.Task[bool], tuple[Waiting, Placed | str, float]] = {}
        self._began = time.monotonic()
        self._began_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._stays: list[Stay] = []
        self._pieces: list[Piece] = []
        self._bad: list[str] = []

    async def run(self) -> None:
        """Start everything; ClusterError when the cluster itself is gone."""
        try:
            while (self._waiting and not self._runner.stop.is_set()) or self._running:
                await self._head.check()
                refused = False
                if self._waiting and not self._runner.stop.is_set():
                    refused = await self._start_what_fits()
                await self._hear(AGAIN_S if refused else LOOK_S)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            for _, placed, _ in self._running.values():
                if isinstance(placed, Placed):
                    placed.release()

    def schedule(self, predicted_s: float | None) -> Schedule:
        """Return how it went."""
        yard = self._engine.yard
        share = self._runner.plan.experiment.ray.share_nodes
        return Schedule(
            started_at=self._began_at,
            predicted_s=predicted_s,
            measured_s=time.monotonic() - self._began,
            lower_bound_s=lower_bound_s(self._pieces, list(yard.nodes.values()), share=share),
            avoided_nodes=tuple(self._bad),
            stays=tuple(self._stays),
        )

    async def _start_what_fits(self) -> bool:
        """Start what there is room for; True if Ray saw no room where our books did."""
        yard, nodes = self._engine.yard, await nodes_now()
        if nodes is None:
            return False
        yard.update(nodes)
        refused = False
        for each in list(self._waiting):
            if among := yard.room(each.need):
                name = f"{self._engine.namespace}.{each.group.group_id}"
                placed = await place(
                    each.need, among, name=name, limit_s=each.patience_s, gpus=self._hold_gpus
                )
                if placed is not None:
                    self._start(each, placed)
                    continue
                each.patience_s, refused = min(2 * each.patience_s, MOST_S), True
            if why := self._hopeless(each):
                self._start(each, why)
            elif len(each.need.gpus_by_node) > 1:
                break  # smaller ones would keep it waiting for ever
        return refused

    def _hopeless(self, each: Waiting) -> str:
        """Say why a group need not wait any longer; empty while it may still find room."""
        yard, limit_s = self._engine.yard, self._runner.plan.experiment.ray.wait_s
        if not yard.ever_fits(each.need) and self._bad:
            return (
                f"BAD_NODES: needs {each.need}; after {BAD_AFTER} failures each these are avoided: "
                f"{', '.join(self._bad)}"
            )
        if self._running and yard.ever_fits(each.need):
            each.since_s = time.monotonic()  # it waits for our own groups
        if time.monotonic() - each.since_s <= limit_s:
            return ""
        return (
            f"RAY_WAIT_TIMEOUT: no room for {each.need} within {limit_s:.0f} s, there are "
            f"{told(yard.nodes.values())}: somebody else holds them, or they are gone; a longer "
            "--ray-wait waits for them"
        )

    def _start(self, each: Waiting, placed: Placed | str) -> None:
        self._waiting.remove(each)
        if isinstance(placed, Placed):
            self._engine.yard.take(each.need, placed.node_ids)
        self._engine.places[each.group.group_id] = placed
        each.starts_left -= 1
        work = self._runner.start(each.group, last=each.starts_left == 0)
        self._running[asyncio.ensure_future(work)] = (each, placed, time.monotonic())

    async def _hear(self, limit_s: float) -> None:
        """Wait until a group has ended, or it is time to look again."""
        if not self._running:
            await asyncio.sleep(limit_s)
            return
        done, _ = await asyncio.wait(
            self._running, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            each, placed, started = self._running.pop(task)
            if isinstance(placed, Placed):
                placed.release()
                self._engine.yard.give(each.need, placed.node_ids)
                self._note(each, placed, started)
                self._blame(each, placed)
            if task.result() and each.starts_left:
                each.since_s = time.monotonic()
                self._waiting = _ordered([*self._waiting, each])

    def _blame(self, each: Waiting, placed: Placed) -> None:
        """Hold against its nodes a failure that another start may not meet."""
        code = self._engine.failures.pop(each.group.group_id, "")
        if not code or not may_pass(code):
            return
        for node in self._engine.yard.blame(placed.node_ids):
            self._bad.append(node.name)
            self._runner.listen(Notice(f"{node.name} is avoided after {BAD_AFTER} failures"))

    def _note(self, each: Waiting, placed: Placed, started: float) -> None:
        now = time.monotonic()
        self._pieces.append(Piece(each.group.replicate, each.need, now - started))
        self._stays.append(
            Stay(
                group=each.group.group_id,
                nodes=tuple(node.name for node in placed.nodes),
                started_s=started - self._began,
                ended_s=now - self._began,
                expected_s=each.expected_s,
            )
        )


def _ordered(waiting: Sequence[Waiting]) -> list[Waiting]:
    pieces = [Piece(each.group.replicate, each.need, each.expected_s or 0.0) for each in waiting]
    return [waiting[index] for index in longest_first(pieces)]
