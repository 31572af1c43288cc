"""An agent on a node as the driver sees it: calls with a limit, and what a silence means."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from catalog.errors import ServerDied, ServerError
from orchestrator.cluster.agent import PERIOD_S, Agent
from orchestrator.cluster.connection import living_nodes
from orchestrator.cluster.nodes import Node
from orchestrator.cluster.placing import Placed
from orchestrator.cluster.wire import Told

SILENCE_S = 20.0
"""Without an answer for so long a node counts as lost, whatever Ray still thinks of it."""
AGAIN_S = 0.5
DECLARED_S = 20.0
"""How long Ray may take to find out that the node of a dead agent is dead too."""


class RemoteAgent:
    """One agent, on one bundle of a placement group."""

    def __init__(self, placed: Placed, index: int, *, name: str) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self.node: Node = placed.nodes[index]
        gpus = placed.group.bundle_specs[index].get("GPU", 0)
        self._actor = (
            ray.remote(Agent)
            .options(
                name=name,
                num_cpus=placed.group.bundle_specs[index]["CPU"],
                num_gpus=gpus,
                max_restarts=0,
                max_concurrency=4,
                scheduling_strategy=PlacementGroupSchedulingStrategy(placed.group, index),
            )
            .remote()
        )

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the agent; ServerDied says NODE_LOST or AGENT_LOST when it is gone."""
        import ray

        deadline = time.monotonic() + SILENCE_S
        while True:
            reference = getattr(self._actor, method).remote(*arguments)
            try:
                async with asyncio.timeout(max(AGAIN_S, deadline - time.monotonic()) + PERIOD_S):
                    return await reference
            except ray.exceptions.ActorUnavailableError as error:
                if time.monotonic() > deadline:
                    raise await self._lost(error) from error
            except (ray.exceptions.RayActorError, TimeoutError) as error:
                raise await self._lost(error) from error
            except ray.exceptions.RayError as error:
                told = " ".join(str(error).split())[:300]
                raise ServerError(f"AGENT_FAILED: on {self.node.name}: {told}") from error
            await asyncio.sleep(AGAIN_S)

    async def news(self) -> AsyncIterator[Told]:
        """Yield what the agent tells, until the one who listens has heard enough."""
        while True:
            for told in await self.call("told"):
                yield told

    def kill(self) -> None:
        import ray

        with contextlib.suppress(ray.exceptions.RayError, ValueError):
            ray.kill(self._actor, no_restart=True)

    async def _lost(self, error: BaseException) -> ServerDied:
        """Find out whether only the agent ended, or its node."""
        where = f"{self.node.name} ({self.node.address})"
        if isinstance(error, TimeoutError):
            return ServerDied(
                f"NODE_LOST: {where} has not answered for {SILENCE_S:.0f} s", stage="node"
            )
        deadline = time.monotonic() + DECLARED_S
        while time.monotonic() < deadline:
            if await self._gone():
                return ServerDied(f"NODE_LOST: {where} is gone from the cluster", stage="node")
            if getattr(error, "preempted", False):
                break
            await asyncio.sleep(AGAIN_S)
        told = " ".join(str(error).split())[:300]
        return ServerDied(f"AGENT_LOST: the agent on {where} ended: {told}", stage="node")

    async def _gone(self) -> bool:
        known = {node.node_id: node for node in await asyncio.to_thread(living_nodes)}
        node = known.get(self.node.node_id)
        if node is None:
            return True
        try:
            async with asyncio.timeout(2.0):
                _, writer = await asyncio.open_connection(node.address, node.port)
        except (TimeoutError, OSError):
            return True
        writer.close()
        return False
