"""Who else is on a server's nodes: other groups of the study, and whom Ray gave GPUs there."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.cluster.connection import RAY_TIMEOUT_S, call_with_timeout
from orchestrator.cluster.node_pool import NodePool
from orchestrator.host.neighbours import node_shared


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What is known of them at one moment, or of two moments together."""

    groups: int
    """Other groups of this study."""
    foreign_gpus: int | None
    """GPUs that somebody else holds by Ray's count; None where Ray does not say."""

    def __or__(self, other: "Neighbours") -> "Neighbours":
        known = [n for n in (self.foreign_gpus, other.foreign_gpus) if n is not None]
        both = max(known) if len(known) == 2 else None
        return Neighbours(max(self.groups, other.groups), both)

    @property
    def told(self) -> str | None:
        """Whether the nodes are shared, as the column says it; None where it is unknown."""
        return "yes" if self.groups else node_shared(self.foreign_gpus)


async def neighbours(pool: NodePool, node_ids: Iterable[str]) -> Neighbours:
    """Look who is beside a group on its nodes."""
    listed = tuple(node_ids)
    free = await asyncio.to_thread(call_with_timeout, RAY_TIMEOUT_S, _free_gpus)
    return Neighbours(
        pool.colocated_groups(listed), None if free is None else pool.foreign_gpus(listed, free)
    )


def _free_gpus() -> dict[str, float]:
    """Return the GPUs that nobody holds, by node; Ray leaves out what a node has none of."""
    from ray._private.state import available_resources_per_node

    found = available_resources_per_node()
    return {node_id: float(held.get("GPU", 0.0)) for node_id, held in found.items()}
