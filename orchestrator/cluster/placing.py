"""One placement group for each server group: Ray chooses among the nodes that may carry it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.cluster.connection import ANSWER_S, within
from orchestrator.cluster.need import AGENT_CPUS, Need
from orchestrator.cluster.nodes import Node

FIRST_S, MOST_S, LOOK_S = 0.3, 5.0, 0.02
"""How long Ray gets for a placement that our books say is possible, longer at each refusal: others
wait meanwhile, and Ray looks at a new request sooner than at one that had to wait."""
NODE_LABEL = "ray.io/node-id"


@dataclass(frozen=True, slots=True)
class Placed:
    """A placement group that stands, bundle by bundle."""

    need: Need
    nodes: tuple[Node, ...]
    """One a bundle; the first carries the part that answers."""
    group: Any

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(node.node_id for node in self.nodes)

    def release(self) -> None:
        from ray.util import remove_placement_group

        within(ANSWER_S, lambda: remove_placement_group(self.group))


async def place(
    need: Need, among: Sequence[Node], *, name: str, limit_s: float, gpus: bool = True
) -> Placed | None:
    """Ask for the group's bundles on these nodes; None if Ray has no room for them now.

    Without `gpus` they are left for the server's own placement group to take.
    """
    from ray.util import placement_group, remove_placement_group

    bundles = [_bundle(each if gpus else 0) for each in need.gpus_by_node]
    allowed = {NODE_LABEL: f"in({','.join(node.node_id for node in among)})"}
    group = placement_group(
        bundles,
        strategy="STRICT_PACK" if len(bundles) == 1 else "STRICT_SPREAD",
        name=name,
        bundle_label_selector=[allowed] * len(bundles),
    )
    found = await _bundles(group, limit_s)
    if found is None:
        within(ANSWER_S, lambda: remove_placement_group(group))
        return None
    by_id = {node.node_id: node for node in among}
    return Placed(need, tuple(by_id[found[index]] for index in range(len(bundles))), group)


async def _bundles(group: Any, limit_s: float) -> dict[int, str] | None:
    """Return the node of each bundle once all are reserved; Ray's own wait knows whole seconds."""
    from ray.util import placement_group_table

    deadline = time.monotonic() + limit_s
    while True:
        told = await asyncio.to_thread(within, ANSWER_S, lambda: placement_group_table(group))
        if told is not None and told["state"] == "CREATED":
            bundles: dict[int, str] = told["bundles_to_node_id"]
            return bundles
        if told is None or time.monotonic() > deadline:
            return None
        await asyncio.sleep(LOOK_S)


def _bundle(gpus: int) -> dict[str, float]:
    return {"CPU": AGENT_CPUS, **({"GPU": float(gpus)} if gpus else {})}
