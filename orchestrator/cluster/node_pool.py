"""Which nodes are free for a group, as this driver counts: for real and for predicted time."""

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.cluster.resources import ResourceRequest
from orchestrator.host.nodes import Node

AVOID_AFTER = 2
"""Failures after which a node is avoided."""


class NodePool:
    """Nodes, and what this study's groups have acquired of them."""

    def __init__(self, nodes: Iterable[Node], *, share: bool) -> None:
        self._share = share
        self.nodes = {node.node_id: node for node in nodes}
        self._acquired_gpus = dict.fromkeys(self.nodes, 0)
        self._groups = dict.fromkeys(self.nodes, 0)
        self._failures: dict[str, int] = {}

    def update(self, nodes: Iterable[Node]) -> None:
        """Replace the nodes; what groups have acquired stays counted."""
        self.nodes = {node.node_id: node for node in nodes}
        for node_id in self.nodes:
            self._acquired_gpus.setdefault(node_id, 0)
            self._groups.setdefault(node_id, 0)

    def fitting(self, request: ResourceRequest) -> list[Node]:
        """Return the nodes that fit the request now, the fullest first; empty if too few do."""
        fit = [node for node in self.nodes.values() if self._fits(request, node)]
        # What is left over on a node is of use to a smaller group only.
        fit.sort(key=lambda node: (self._free(node), node.name))
        needed = sorted(request.gpus_by_node, reverse=True)
        free = sorted(map(self._free, fit), reverse=True)
        enough = len(free) >= len(needed)
        return fit if enough and all(a >= b for a, b in zip(free, needed, strict=False)) else []

    def acquire(self, request: ResourceRequest, node_ids: Sequence[str]) -> None:
        for node_id, gpus in zip(node_ids, request.gpus_by_node, strict=True):
            self._acquired_gpus[node_id] += gpus
            self._groups[node_id] += 1

    def release(self, request: ResourceRequest, node_ids: Sequence[str]) -> None:
        for node_id, gpus in zip(node_ids, request.gpus_by_node, strict=True):
            self._acquired_gpus[node_id] -= gpus
            self._groups[node_id] -= 1

    def colocated_groups(self, node_ids: Iterable[str]) -> int:
        """Return how many other groups run on the nodes of a group."""
        return sum(max(0, self._groups[node_id] - 1) for node_id in node_ids)

    def foreign_gpus(self, node_ids: Iterable[str], free: Mapping[str, float]) -> int | None:
        """Return the GPUs on these nodes that are neither ours nor `free`.

        None where a node is not among those that Ray tells of, or has no GPUs to count.
        """
        foreign = 0
        for node_id in node_ids:
            node = self.nodes.get(node_id)
            if node is None or not node.gpus or node_id not in free:
                return None
            foreign += max(0, round(self._free(node) - free[node_id]))
        return foreign

    def record_failure(self, node_ids: Iterable[str]) -> list[Node]:
        """Count a failure against each node; return those that are avoided from now on."""
        newly_avoided = []
        for node_id in node_ids:
            self._failures[node_id] = self._failures.get(node_id, 0) + 1
            if self._failures[node_id] == AVOID_AFTER and node_id in self.nodes:
                newly_avoided.append(self.nodes[node_id])
        return newly_avoided

    def avoided(self, node_id: str) -> bool:
        return self._failures.get(node_id, 0) >= AVOID_AFTER

    def could_fit(self, request: ResourceRequest) -> bool:
        """Return whether the nodes that are not avoided would fit the request if all were free."""
        usable = [node for node in self.nodes.values() if not self.avoided(node.node_id)]
        return bool(NodePool(usable, share=self._share).fitting(request))

    def _fits(self, request: ResourceRequest, node: Node) -> bool:
        if self.avoided(node.node_id) or not request.accepts(node):
            return False
        if self._groups[node.node_id] and not self._share:
            return False
        return self._free(node) >= min(request.gpus_by_node)

    def _free(self, node: Node) -> int:
        return node.gpus - self._acquired_gpus[node.node_id]
