"""One placement group for each server group: Ray chooses among the nodes that may carry it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.cluster.connection import ANSWER_S, within
from orchestrator.cluster.need import AGENT_CPUS, Need
from orchestrator.cluster.nodes import Node

LOOK_S = 3.0
"""How long Ray gets for a placement that our books say is possible; others wait meanwhile."""
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
    need: Need, among: Sequence[Node], *, name: str, gpus: bool = True
) -> Placed | None:
    """Ask for the group's bundles on these nodes; None if Ray has no room for them now.

    Without `gpus` they are left for the server's own placement group to take.
    """
    from ray.util import placement_group, placement_group_table, remove_placement_group

    bundles = [_bundle(each if gpus else 0) for each in need.gpus_by_node]
    allowed = {NODE_LABEL: f"in({','.join(node.node_id for node in among)})"}
    group = placement_group(
        bundles,
        strategy="STRICT_PACK" if len(bundles) == 1 else "STRICT_SPREAD",
        name=name,
        bundle_label_selector=[allowed] * len(bundles),
    )
    if not await asyncio.to_thread(group.wait, LOOK_S):
        remove_placement_group(group)
        return None
    found = placement_group_table(group)["bundles_to_node_id"]
    by_id = {node.node_id: node for node in among}
    return Placed(need, tuple(by_id[found[index]] for index in range(len(bundles))), group)


def _bundle(gpus: int) -> dict[str, float]:
    return {"CPU": AGENT_CPUS, **({"GPU": float(gpus)} if gpus else {})}
