"""One placement group for each server group: Ray chooses among the nodes that may carry it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.cluster.connection import RAY_TIMEOUT_S, call_with_timeout
from orchestrator.cluster.resources import AGENT_CPUS, ResourceRequest
from orchestrator.host.nodes import Node

FIRST_TIMEOUT_S, MAX_TIMEOUT_S, POLL_S = 0.3, 5.0, 0.02
"""How long Ray gets for a placement that fits the node pool, longer at each refusal: others wait
meanwhile, and Ray looks at a new request sooner than at one that had to wait."""
NODE_LABEL = "ray.io/node-id"


@dataclass(frozen=True, slots=True)
class ServerPlacement:
    """A placement group that Ray has created, bundle by bundle."""

    request: ResourceRequest
    nodes: tuple[Node, ...]
    """One a bundle; the HTTP server is on the first."""
    group: Any

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(node.node_id for node in self.nodes)

    def release(self) -> None:
        from ray.util import remove_placement_group

        call_with_timeout(RAY_TIMEOUT_S, lambda: remove_placement_group(self.group))


@dataclass(frozen=True, slots=True)
class PlacementFailed:
    """A group that gets no placement group."""

    reason: str
    """`CODE: numbers and the way out`."""


async def reserve(
    request: ResourceRequest,
    candidates: Sequence[Node],
    *,
    name: str,
    limit_s: float,
    gpus: bool = True,
) -> ServerPlacement | None:
    """Create a placement group on these nodes; None if Ray has no room for it now.

    Without `gpus` they are left for the server's own placement group to take.
    """
    from ray.util import placement_group, remove_placement_group

    bundles = [_bundle(each if gpus else 0) for each in request.gpus_by_node]
    allowed = {NODE_LABEL: f"in({','.join(node.node_id for node in candidates)})"}
    group = placement_group(
        bundles,
        strategy="STRICT_PACK" if len(bundles) == 1 else "STRICT_SPREAD",
        name=name,
        bundle_label_selector=[allowed] * len(bundles),
    )
    node_ids = await _bundles(group, limit_s)
    if node_ids is None:
        call_with_timeout(RAY_TIMEOUT_S, lambda: remove_placement_group(group))
        return None
    by_id = {node.node_id: node for node in candidates}
    return ServerPlacement(
        request, tuple(by_id[node_ids[index]] for index in range(len(bundles))), group
    )


async def _bundles(group: Any, limit_s: float) -> dict[int, str] | None:
    """Return the node of each bundle once all are reserved; Ray's own wait knows whole seconds."""
    from ray.util import placement_group_table

    deadline = time.monotonic() + limit_s
    while True:
        table = await asyncio.to_thread(
            call_with_timeout, RAY_TIMEOUT_S, lambda: placement_group_table(group)
        )
        if table is not None and table["state"] == "CREATED":
            bundles: dict[int, str] = table["bundles_to_node_id"]
            return bundles
        if table is None or time.monotonic() > deadline:
            return None
        await asyncio.sleep(POLL_S)


def _bundle(gpus: int) -> dict[str, float]:
    return {"CPU": AGENT_CPUS, **({"GPU": float(gpus)} if gpus else {})}
