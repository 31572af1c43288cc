"""An agent on a node as the driver sees it: calls with a limit, and what a silence means."""

import asyncio
import contextlib
import time
from typing import Any

from catalog.errors import ServerDied, ServerError
from orchestrator.cluster.agent import Agent
from orchestrator.cluster.connection import ANSWER_S, nodes_now, within
from orchestrator.cluster.need import AGENT_CPUS
from orchestrator.cluster.news import PERIOD_S
from orchestrator.cluster.nodes import Node
from orchestrator.cluster.placing import Placed

SILENCE_S = 25.0
"""Without an answer for so long a node counts as lost, whatever Ray still thinks of it."""
START_S = 180.0
"""The first answer waits for a worker process, and for moeserve where it travels."""
AGAIN_S = 0.5
DECLARED_S = 20.0
"""How long Ray may take to find out that the node of a dead agent is dead too."""


class RemoteAgent:
    """One agent, on one bundle of a placement group."""

    def __init__(self, node: Node, *, name: str, gpus: float, strategy: Any) -> None:
        import ray

        self.node = node
        self._answered = False
        self._actor = (
            ray.remote(Agent)
            .options(
                name=name,
                num_cpus=AGENT_CPUS,
                num_gpus=gpus,
                max_restarts=0,
                max_concurrency=4,
                scheduling_strategy=strategy,
            )
            .remote()
        )

    @staticmethod
    def on_bundle(placed: Placed, index: int, *, name: str) -> "RemoteAgent":
        """Start an agent with everything that one bundle of a placement group holds."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        gpus = placed.group.bundle_specs[index].get("GPU", 0)
        strategy = PlacementGroupSchedulingStrategy(placed.group, index)
        return RemoteAgent(placed.nodes[index], name=name, gpus=gpus, strategy=strategy)

    @staticmethod
    def on_node(node: Node, *, name: str) -> "RemoteAgent":
        """Start an agent that only loads a server which is elsewhere."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        return RemoteAgent(node, name=name, gpus=0, strategy=strategy)

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the agent; ServerDied says NODE_LOST or AGENT_LOST when it is gone."""
        import ray

        limit_s = SILENCE_S if self._answered else START_S
        deadline = time.monotonic() + limit_s
        while True:
            try:
                async with asyncio.timeout(max(PERIOD_S, deadline - time.monotonic()) + PERIOD_S):
                    answer = await getattr(self._actor, method).remote(*arguments)
                self._answered = True
                return answer
            except ray.exceptions.ActorUnavailableError as error:
                if time.monotonic() > deadline:
                    raise await self._lost(error, limit_s) from error
            except (ray.exceptions.RayActorError, TimeoutError) as error:
                raise await self._lost(error, limit_s) from error
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", error)
                told = f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]
                raise ServerError(f"AGENT_FAILED: on {self.node.name}: {told}") from error
            await asyncio.sleep(AGAIN_S)

    def kill(self) -> None:
        import ray

        def kill() -> None:
            with contextlib.suppress(ray.exceptions.RayError, ValueError):
                ray.kill(self._actor, no_restart=True)

        within(ANSWER_S, kill)

    async def _lost(self, error: BaseException, limit_s: float) -> ServerDied:
        """Find out whether only the agent ended, or its node."""
        where = f"{self.node.name} ({self.node.address})"
        if isinstance(error, TimeoutError):
            return ServerDied(
                f"NODE_LOST: {where} has not answered for {limit_s:.0f} s", stage="node"
            )
        deadline = time.monotonic() + DECLARED_S
        while time.monotonic() < deadline:
            if await self._gone():
                return ServerDied(f"NODE_LOST: {where} is gone from the cluster", stage="node")
            await asyncio.sleep(AGAIN_S)
        told = " ".join(str(error).split())[:300]
        return ServerDied(f"AGENT_LOST: the agent on {where} ended: {told}", stage="node")

    async def _gone(self) -> bool:
        nodes = await nodes_now()
        if nodes is None:
            return False
        node = {each.node_id: each for each in nodes}.get(self.node.node_id)
        if node is None:
            return True
        try:
            async with asyncio.timeout(2.0):
                _, writer = await asyncio.open_connection(node.address, node.port)
        except (TimeoutError, OSError):
            return True
        writer.close()
        return False
