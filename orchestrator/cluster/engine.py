"""The engine whose servers are on the nodes of a Ray cluster."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from catalog.errors import ClusterError, MoeserveError, ServerStartFailed
from orchestrator.cluster.client import remote_client
from orchestrator.cluster.messages import LaunchRequest, ServerReady
from orchestrator.cluster.multinode_args import multinode_args, uses_ray_executor
from orchestrator.cluster.neighbours import neighbours
from orchestrator.cluster.node_pool import NodePool
from orchestrator.cluster.placement_groups import PlacementFailed, ServerPlacement
from orchestrator.cluster.remote import AgentHandle
from orchestrator.cluster.session import (
    AgentClient,
    DriverClient,
    EventReader,
    RemoteSession,
    forward_stop,
    result_or_first_error,
)
from orchestrator.engine import Callbacks, LaunchContext, Session
from orchestrator.engines.kind import EngineKind
from orchestrator.experiment.server_group import ServerGroup


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Serves groups that have been placed; `inner` is the engine that agents run."""

    inner: EngineKind
    namespace: str
    node_pool: NodePool
    keep_environment: Callable[[dict[str, Any]], str]
    placements: dict[str, ServerPlacement | PlacementFailed] = field(default_factory=dict)
    """By group id."""
    failures: dict[str, MoeserveError] = field(default_factory=dict)
    """By group id; its last failure, until the scheduler takes it."""

    @contextlib.asynccontextmanager
    async def open(
        self, group: ServerGroup, context: LaunchContext, callbacks: Callbacks
    ) -> AsyncIterator[Session]:
        placement = self.placements[group.group_id]
        if isinstance(placement, PlacementFailed):
            raise ServerStartFailed(placement.reason, stage="placement")
        launch = _ServerLaunch(self, group, placement, context, callbacks)
        try:
            async with AsyncExitStack() as stack:
                stack.push_async_callback(launch.shut_down)
                yield await launch.until_ready(stack)
        except MoeserveError as error:
            self.failures[group.group_id] = error
            raise


class _ServerLaunch:
    """One launch of a group's server: its agents, and the tasks that monitor them."""

    def __init__(
        self,
        engine: RayEngine,
        group: ServerGroup,
        placement: ServerPlacement,
        context: LaunchContext,
        callbacks: Callbacks,
    ) -> None:
        self._engine, self._group, self._placement = engine, group, placement
        self._context, self._callbacks = context, callbacks
        self._readers: list[EventReader] = []
        self._monitors: list[asyncio.Task[Any]] = []

    async def until_ready(self, stack: AsyncExitStack) -> RemoteSession:
        """Start an agent on each node; wait until the first has proved the whole server ready."""
        placement, callbacks = self._placement, self._callbacks
        callbacks.on_stage(f"starting on {', '.join(node.name for node in placement.nodes)}")
        # In virtual time one agent plays the whole server; the other bundles hold their GPUs.
        # vLLM's Ray executor starts its own ranks, wherever they are.
        alone = not self._engine.inner.spans_nodes or self._ray_executor
        parts = 1 if alone else len(placement.nodes)
        for index in range(parts):
            agent = AgentHandle.on_bundle(placement, index, name=self._actor_name(str(index)))
            self._add_agent(agent, "server" if index == 0 else f"server.{index}")
        # The other parts work for the first until its last request is done.
        await stack.enter_async_context(forward_stop(callbacks, self._readers[0].agent))
        await self._check_nodes()
        requests = await self._requests()
        gpus = [
            await each.agent.call("open", request)
            for each, request in zip(self._readers, requests, strict=True)
        ]
        head, *rest = self._readers
        self._monitors += [asyncio.ensure_future(each.monitor(callbacks)) for each in rest]
        ready = await self._until_server_ready(head)
        client = await self._client(ready, stack)
        return RemoteSession(
            client=client,
            monitors=tuple(self._monitors),
            provenance=ready.provenance,
            gpu_type=ready.gpu_type,
            details={**ready.details, **await self._details(client, gpus)},
            client_on=self._client_on(client),
            neighbours=lambda: neighbours(self._engine.node_pool, placement.node_ids),
            real=self._real,
        )

    async def shut_down(self) -> None:
        """Stop every agent; a server out of reach is left to its supervisor."""
        self._callbacks.on_stage("stopping the server")
        for task in self._monitors:
            task.cancel()
        await asyncio.gather(*self._monitors, return_exceptions=True)
        await asyncio.gather(*(each.close() for each in self._readers), return_exceptions=True)
        for each in self._readers:
            each.agent.kill()

    async def _check_nodes(self) -> None:
        """Ray moves a bundle whose node dies before its agent is there; the node pool does not."""
        for each in self._readers:
            if await each.agent.call("node_id") != each.agent.node.node_id:
                raise ServerStartFailed(
                    f"NODE_LOST: {each.agent.node.name} went before its agent had started",
                    stage="placement",
                )

    async def _client(
        self, ready: ServerReady, stack: AsyncExitStack
    ) -> AgentClient | DriverClient:
        """Return the load generator at `client_on`; in virtual time the agent's own."""
        where = self._context.experiment.ray.client_on
        if where == "server" or ready.target is None:
            return AgentClient(self._readers[0])
        self._monitors.append(asyncio.ensure_future(self._readers[0].monitor(self._callbacks)))
        if where == "driver":
            session = await stack.enter_async_context(
                remote_client(
                    ready.target,
                    self._context.experiment,
                    vocab=self._context.model.vocab,
                    gpu_type=ready.gpu_type,
                )
            )
            return DriverClient(session)
        agent = AgentHandle.on_node(self._node_named(where), name=self._actor_name("client"))
        reader = self._add_agent(agent, "client")
        await stack.enter_async_context(forward_stop(self._callbacks, agent))
        await agent.call("open", replace(self._request(), target=ready.target, use_gpus=False))
        await self._until_server_ready(reader)
        return AgentClient(reader)

    def _add_agent(self, agent: AgentHandle, name: str) -> EventReader:
        reader = EventReader(agent, self._context.folder / f"{name}.log")
        self._readers.append(reader)
        return reader

    async def _until_server_ready(self, reader: EventReader) -> ServerReady:
        return await result_or_first_error(
            asyncio.ensure_future(reader.wait_for(ServerReady, self._callbacks)), self._monitors
        )

    def _node_named(self, name: str) -> Any:
        for node in self._engine.node_pool.nodes.values():
            if name in (node.name, node.address):
                return node
        raise ClusterError(f"CLIENT_NODE: there is no node {name} to run the load generator on")

    def _actor_name(self, part: str) -> str:
        # Random, because Ray frees a name a moment after its actor has ended.
        return f"{self._engine.namespace}.{self._group.group_id}.{part}.{secrets.token_hex(3)}"

    async def _requests(self) -> list[LaunchRequest]:
        """Return each node's request; the rendezvous is on the first node."""
        placement, layout, common = self._placement, self._group.setup.layout, self._request()
        assert layout is not None
        if len(self._readers) == 1:
            return [common]
        port = await self._readers[0].agent.call("reserve_port")
        sizes, head = placement.request.gpus_by_node, placement.nodes[0].address
        key = secrets.token_hex(16)
        return [
            replace(
                common,
                host=node.address,
                args=multinode_args(layout, sizes, rank, head=head, port=port),
                headless=rank > 0,
                api_key=key,
            )
            for rank, node in enumerate(placement.nodes)
        ]

    def _request(self) -> LaunchRequest:
        """Return what every node's request has in common."""
        kind = self._engine.inner
        elsewhere = self._context.experiment.ray.client_on != "server" or self._ray_executor
        gpus = self._placement.request.gpus_by_node[0] > 0 and not self._ray_executor
        request = LaunchRequest(
            engine=kind.name,
            group=self._group,
            experiment=self._context.experiment,
            model=self._context.model,
            use_gpus=gpus,
            ray_executor=self._ray_executor,
            stop_grace_s=self._context.stop_grace_s,
        )
        if not (kind.spans_nodes and elsewhere):
            return request
        key = secrets.token_hex(16)
        return replace(request, host=self._placement.nodes[0].address, api_key=key)

    async def _details(
        self, client: AgentClient | DriverClient, gpus: list[tuple[str, ...]]
    ) -> dict[str, Any]:
        placement = self._placement
        on_bundles = [each.agent for each in self._readers[: len(gpus)]]
        kept = [
            self._engine.keep_environment(
                await agent.call("describe", client.location == agent.node.name and self._real)
            )
            for agent in on_bundles
        ]
        return {
            "node_environment": kept[0],
            "ray": {
                "environments": kept,
                "interfaces": [await a.call("interface", a.node.address) for a in on_bundles],
                "placement_group": placement.group.id.hex(),
                "nodes": [node.name for node in placement.nodes],
                "node_ids": list(placement.node_ids),
                "gpus": [list(each) for each in gpus],
            },
        }

    def _client_on(self, client: AgentClient | DriverClient) -> str:
        """Name where the client is, alike for all servers that have theirs beside them."""
        return "server" if client.location == self._placement.nodes[0].name else client.location

    @property
    def _ray_executor(self) -> bool:
        return uses_ray_executor(self._context.experiment.server.args)

    @property
    def _real(self) -> bool:
        return not self._engine.inner.virtual
