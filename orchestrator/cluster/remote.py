"""The driver's handle of an agent: calls with a time limit, and what a lost one means."""

import asyncio
import contextlib
import time
from typing import Any

from catalog.errors import ServerDied, ServerError
from orchestrator.cluster.agent import Agent
from orchestrator.cluster.connection import RAY_TIMEOUT_S, call_with_timeout, current_nodes
from orchestrator.cluster.event_stream import PERIOD_S
from orchestrator.cluster.placement_groups import ServerPlacement
from orchestrator.cluster.resources import AGENT_CPUS
from orchestrator.host.nodes import Node

CALL_TIMEOUT_S = 25.0
"""Without an answer for so long a node counts as lost, even if Ray reports it alive."""
FIRST_CALL_TIMEOUT_S = 180.0
"""The first answer waits for a worker process, and for a runtime environment's upload."""
RETRY_S = 0.5
NODE_DEATH_TIMEOUT_S = 20.0
"""How long Ray may take to mark the node of a dead agent as dead."""


class AgentHandle:
    """One agent, on one bundle of a placement group."""

    def __init__(self, node: Node, *, name: str, gpus: float, strategy: Any, cpus: float) -> None:
        import ray

        self.node = node
        self._answered = False
        self._actor = (
            ray.remote(Agent)
            .options(
                name=name,
                num_cpus=cpus,
                num_gpus=gpus,
                max_restarts=0,
                max_concurrency=4,
                scheduling_strategy=strategy,
            )
            .remote()
        )

    @staticmethod
    def on_bundle(placement: ServerPlacement, index: int, *, name: str) -> "AgentHandle":
        """Start an agent with everything that one bundle of a placement group holds."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        gpus = placement.group.bundle_specs[index].get("GPU", 0)
        strategy = PlacementGroupSchedulingStrategy(placement.group, index)
        node = placement.nodes[index]
        return AgentHandle(node, name=name, gpus=gpus, strategy=strategy, cpus=AGENT_CPUS)

    @staticmethod
    def on_node(node: Node, *, name: str) -> "AgentHandle":
        """Start an agent that only loads a server which is elsewhere.

        It asks for no CPU of Ray's count: a head often offers none, and the user named the node.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        return AgentHandle(node, name=name, gpus=0, strategy=strategy, cpus=0)

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the agent; ServerDied says NODE_LOST or AGENT_LOST when it is gone."""
        import ray

        limit_s = CALL_TIMEOUT_S if self._answered else FIRST_CALL_TIMEOUT_S
        deadline = time.monotonic() + limit_s
        while True:
            try:
                async with asyncio.timeout(max(PERIOD_S, deadline - time.monotonic()) + PERIOD_S):
                    answer = await getattr(self._actor, method).remote(*arguments)
                self._answered = True
                return answer
            except ray.exceptions.ActorUnavailableError as error:
                if time.monotonic() > deadline:
                    raise await self._lost_error(error, limit_s) from error
            except (ray.exceptions.RayActorError, TimeoutError) as error:
                raise await self._lost_error(error, limit_s) from error
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", error)
                message = f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]
                raise ServerError(f"AGENT_FAILED: on {self.node.name}: {message}") from error
            await asyncio.sleep(RETRY_S)

    def kill(self) -> None:
        import ray

        def kill() -> None:
            with contextlib.suppress(ray.exceptions.RayError, ValueError):
                ray.kill(self._actor, no_restart=True)

        call_with_timeout(RAY_TIMEOUT_S, kill)

    async def _lost_error(self, error: BaseException, limit_s: float) -> ServerDied:
        """Return AGENT_LOST or NODE_LOST: whether only the agent ended, or its node."""
        where = f"{self.node.name} ({self.node.address})"
        if isinstance(error, TimeoutError):
            return ServerDied(
                f"NODE_LOST: {where} has not answered for {limit_s:.0f} s", stage="node"
            )
        deadline = time.monotonic() + NODE_DEATH_TIMEOUT_S
        while time.monotonic() < deadline:
            if await self._node_is_gone():
                return ServerDied(f"NODE_LOST: {where} is gone from the cluster", stage="node")
            await asyncio.sleep(RETRY_S)
        message = " ".join(str(error).split())[:300]
        return ServerDied(f"AGENT_LOST: the agent on {where} ended: {message}", stage="node")

    async def _node_is_gone(self) -> bool:
        nodes = await current_nodes()
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
