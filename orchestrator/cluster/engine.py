"""The engine whose servers are on the nodes of a Ray cluster."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.errors import MoeserveError, ServerStartFailed
from orchestrator.cluster.parts import part_args
from orchestrator.cluster.placing import Placed
from orchestrator.cluster.remote import RemoteAgent
from orchestrator.cluster.session import Listening, RemoteSession, first_of, halted
from orchestrator.cluster.wire import Closed, Job, Ready
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
        # In virtual time one agent plays the whole server; the other bundles hold their GPUs.
        parts = len(placed.nodes) if self.inner == "vllm" else 1
        agents = [self._agent(group, placed, index) for index in range(parts)]
        heard = [Listening(agent, _log(site.folder, index)) for index, agent in enumerate(agents)]
        watching: list[asyncio.Task[Any]] = []
        try:
            async with halted(watch, agents):
                yield await self._ready(group, placed, site, watch, heard, watching)
        except MoeserveError as error:
            self.failures[group.group_id] = code_of(str(error))
            raise
        finally:
            watch.on_stage("stopping the server")
            await _end(heard, watching)

    def _agent(self, group: ServerGroup, placed: Placed, index: int) -> RemoteAgent:
        name = f"{self.namespace}.{group.group_id}.{index}"
        return RemoteAgent(placed, index, name=name)

    async def _ready(
        self,
        group: ServerGroup,
        placed: Placed,
        site: Site,
        watch: Watch,
        heard: list[Listening],
        watching: list[asyncio.Task[Any]],
    ) -> RemoteSession:
        """Start every part, and wait until the first proves the whole server ready."""
        watch.on_stage(f"starting on {', '.join(node.name for node in placed.nodes)}")
        head = heard[0].agent
        described = await head.call("look", self.inner != "simulated")
        jobs = await _jobs(self.inner, group, placed, site, head)
        gpus = [await each.agent.call("open", job) for each, job in zip(heard, jobs, strict=True)]
        watching += [asyncio.ensure_future(each.until(Closed, watch)) for each in heard[1:]]
        ready = await first_of(asyncio.ensure_future(heard[0].until(Ready, watch)), watching)
        return RemoteSession(
            client=heard[0],
            parts=tuple(watching),
            provenance=ready.provenance,
            gpu_type=ready.gpu_type,
            details={
                **ready.details,
                "node_environment": self.keep_environment(described),
                "ray": {
                    "placement_group": placed.group.id.hex(),
                    "nodes": [node.name for node in placed.nodes],
                    "node_ids": list(placed.node_ids),
                    "gpus": [list(each) for each in gpus],
                },
            },
            neighbours=lambda: self.yard.neighbours(placed.node_ids),
        )


async def _jobs(
    inner: str, group: ServerGroup, placed: Placed, site: Site, head: RemoteAgent
) -> list[Job]:
    """Return each node's part; parts of one server find each other at the first one's address."""
    layout, gpus_by_node = group.setup.layout, placed.need.gpus_by_node
    assert layout is not None
    if inner != "vllm":
        gpus_by_node = gpus_by_node[:1]
    several = len(gpus_by_node) > 1
    port = await head.call("meet") if several else 0
    return [
        Job(
            engine=inner,
            group=group,
            experiment=site.experiment,
            model=site.model,
            use_gpus=gpus_by_node[index] > 0,
            host=node.address if several else LOOPBACK,
            args=part_args(layout, gpus_by_node, index, head=head.node.address, port=port),
            headless=index > 0,
            stop_grace_s=site.stop_grace_s,
        )
        for index, node in enumerate(placed.nodes[: len(gpus_by_node)])
    ]


async def _end(heard: list[Listening], watching: list[asyncio.Task[Any]]) -> None:
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    await asyncio.gather(*(each.close() for each in heard), return_exceptions=True)
    for each in heard:
        each.agent.kill()


def _log(folder: Path, index: int) -> Path:
    return folder / ("server.log" if index == 0 else f"server.{index}.log")
