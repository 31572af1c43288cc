"""The engine whose servers are on the nodes of a Ray cluster."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from catalog.errors import ClusterError, MoeserveError, ServerStartFailed
from orchestrator.cluster.client import remote_client
from orchestrator.cluster.parts import part_args, uses_ray_executor
from orchestrator.cluster.placing import Placed
from orchestrator.cluster.remote import RemoteAgent
from orchestrator.cluster.session import (
    AgentClient,
    DriverClient,
    Listening,
    RemoteSession,
    first_of,
    halted,
)
from orchestrator.cluster.wire import Job, Ready
from orchestrator.cluster.yard import Yard
from orchestrator.engines.base import Session, Site, Watch
from orchestrator.outcome import code_of
from orchestrator.plan import ServerGroup

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Serves groups that have been placed; `inner` is the engine that each agent drives."""

    inner: str
    namespace: str
    yard: Yard
    keep_environment: Callable[[dict[str, Any]], str]
    places: dict[str, Placed | str] = field(default_factory=dict)
    """By group; why there is none for a group that has waited too long."""
    failures: dict[str, str] = field(default_factory=dict)
    """By group; the code of its last failure, until it is taken notice of."""

    @contextlib.asynccontextmanager
    async def open(self, group: ServerGroup, site: Site, watch: Watch) -> AsyncIterator[Session]:
        placed = self.places[group.group_id]
        if isinstance(placed, str):
            raise ServerStartFailed(placed, stage="placement")
        start = _Start(self, group, placed, site, watch)
        try:
            async with AsyncExitStack() as stack:
                stack.push_async_callback(start.end)
                yield await start.ready(stack)
        except MoeserveError as error:
            self.failures[group.group_id] = code_of(str(error))
            raise


class _Start:
    """One start of a group's server: its agents, and who watches them."""

    def __init__(
        self, engine: RayEngine, group: ServerGroup, placed: Placed, site: Site, watch: Watch
    ) -> None:
        self._engine, self._group, self._placed = engine, group, placed
        self._site, self._watch = site, watch
        self._heard: list[Listening] = []
        self._others: list[asyncio.Task[Any]] = []

    async def ready(self, stack: AsyncExitStack) -> RemoteSession:
        """Start every part, and wait until the first proves the whole server ready."""
        placed, watch = self._placed, self._watch
        watch.on_stage(f"starting on {', '.join(node.name for node in placed.nodes)}")
        # In virtual time one agent plays the whole server; the other bundles hold their GPUs.
        # vLLM's Ray executor starts its own ranks, wherever they are.
        alone = self._engine.inner != "vllm" or self._ray_executor
        parts = 1 if alone else len(placed.nodes)
        for index in range(parts):
            agent = RemoteAgent.on_bundle(placed, index, name=self._name(str(index)))
            self._hear(agent, "server" if index == 0 else f"server.{index}")
        # The other parts work for the first until its last request is done.
        await stack.enter_async_context(halted(watch, self._heard[0].agent))
        await self._check_places()
        jobs = await self._jobs()
        gpus = [
            await each.agent.call("open", job) for each, job in zip(self._heard, jobs, strict=True)
        ]
        head, *rest = self._heard
        self._others += [asyncio.ensure_future(each.lives(watch)) for each in rest]
        ready = await self._wait(head)
        client = await self._client(ready, stack)
        return RemoteSession(
            client=client,
            others=tuple(self._others),
            provenance=ready.provenance,
            gpu_type=ready.gpu_type,
            details={**ready.details, **await self._details(client, gpus)},
            neighbours=lambda: self._engine.yard.neighbours(placed.node_ids),
        )

    async def end(self) -> None:
        """Take everything down; whatever cannot be reached is its supervisor's."""
        self._watch.on_stage("stopping the server")
        for task in self._others:
            task.cancel()
        await asyncio.gather(*self._others, return_exceptions=True)
        await asyncio.gather(*(each.close() for each in self._heard), return_exceptions=True)
        for each in self._heard:
            each.agent.kill()

    async def _check_places(self) -> None:
        """Ray moves a bundle whose node goes before its agent is there; our books do not."""
        for each in self._heard:
            if await each.agent.call("where") != each.agent.node.node_id:
                raise ServerStartFailed(
                    f"NODE_LOST: {each.agent.node.name} went before its agent had started",
                    stage="placement",
                )

    async def _client(self, ready: Ready, stack: AsyncExitStack) -> AgentClient | DriverClient:
        """Return the load generator, where the user wants it; virtual time has none."""
        where = self._site.experiment.ray.client_on
        if where == "server" or ready.target is None:
            return AgentClient(self._heard[0])
        self._others.append(asyncio.ensure_future(self._heard[0].lives(self._watch)))
        if where == "driver":
            session = await stack.enter_async_context(
                remote_client(
                    ready.target,
                    self._site.experiment,
                    vocab=self._site.model.vocab,
                    gpu_type=ready.gpu_type,
                )
            )
            return DriverClient(session)
        agent = RemoteAgent.on_node(self._node(where), name=self._name("client"))
        heard = self._hear(agent, "client")
        await stack.enter_async_context(halted(self._watch, agent))
        await agent.call("open", self._job(target=ready.target, use_gpus=False))
        await self._wait(heard)
        return AgentClient(heard)

    def _hear(self, agent: RemoteAgent, name: str) -> Listening:
        heard = Listening(agent, self._site.folder / f"{name}.log")
        self._heard.append(heard)
        return heard

    async def _wait(self, heard: Listening) -> Ready:
        return await first_of(asyncio.ensure_future(heard.until(Ready, self._watch)), self._others)

    def _node(self, name: str) -> Any:
        for node in self._engine.yard.nodes.values():
            if name in (node.name, node.address):
                return node
        raise ClusterError(f"CLIENT_NODE: there is no node {name} to run the load generator on")

    def _name(self, part: str) -> str:
        # Random, because Ray frees a name a moment after its actor has ended.
        return f"{self._engine.namespace}.{self._group.group_id}.{part}.{secrets.token_hex(3)}"

    async def _jobs(self) -> list[Job]:
        """Return each node's part; parts find each other at the first one's address."""
        placed, layout, parts = self._placed, self._group.setup.layout, len(self._heard)
        assert layout is not None
        if parts == 1:
            return [self._job()]
        port = await self._heard[0].agent.call("meet")
        sizes, head = placed.need.gpus_by_node, placed.nodes[0].address
        key = secrets.token_hex(16)
        return [
            self._job(
                host=node.address,
                args=part_args(layout, sizes, index, head=head, port=port),
                headless=index > 0,
                api_key=key,
            )
            for index, node in enumerate(placed.nodes)
        ]

    def _job(self, **differing: Any) -> Job:
        vllm = self._engine.inner == "vllm"
        away = vllm and (self._site.experiment.ray.client_on != "server" or self._ray_executor)
        gpus = self._placed.need.gpus_by_node[0] > 0 and not self._ray_executor
        own: dict[str, Any] = {"use_gpus": gpus, "ray_executor": self._ray_executor}
        if away:
            own |= {"host": self._placed.nodes[0].address, "api_key": secrets.token_hex(16)}
        return Job(
            engine=self._engine.inner,
            group=self._group,
            experiment=self._site.experiment,
            model=self._site.model,
            stop_grace_s=self._site.stop_grace_s,
            **own | differing,
        )

    async def _details(
        self, client: AgentClient | DriverClient, gpus: list[tuple[str, ...]]
    ) -> dict[str, Any]:
        placed, head = self._placed, self._heard[0].agent
        described = await head.call("look", client.where == head.node.name and self._real)
        return {
            "node_environment": self._engine.keep_environment(described),
            "ray": {
                "placement_group": placed.group.id.hex(),
                "nodes": [node.name for node in placed.nodes],
                "node_ids": list(placed.node_ids),
                "gpus": [list(each) for each in gpus],
            },
        }

    @property
    def _ray_executor(self) -> bool:
        return uses_ray_executor(self._site.experiment.server.args)

    @property
    def _real(self) -> bool:
        return self._engine.inner != "simulated"
