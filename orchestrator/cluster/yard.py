"""Which nodes are free for a group, by our own books: the same for real and for predicted time."""

from collections.abc import Iterable, Sequence

from orchestrator.cluster.need import Need
from orchestrator.cluster.nodes import Node

BAD_AFTER = 2
"""Failures after which a node is avoided."""


class Yard:
    """Nodes with what our groups have taken of them."""

    def __init__(self, nodes: Iterable[Node], *, share: bool) -> None:
        self._share = share
        self.nodes = {node.node_id: node for node in nodes}
        self._taken = dict.fromkeys(self.nodes, 0)
        self._groups = dict.fromkeys(self.nodes, 0)
        self._failures: dict[str, int] = {}

    def update(self, nodes: Iterable[Node]) -> None:
        """Take over who is there now; what our groups hold stays known."""
        self.nodes = {node.node_id: node for node in nodes}
        for node_id in self.nodes:
            self._taken.setdefault(node_id, 0)
            self._groups.setdefault(node_id, 0)

    def room(self, need: Need) -> list[Node]:
        """Return the nodes that may carry a group now, the fullest first; empty if too few may."""
        fit = [node for node in self.nodes.values() if self._fits(need, node)]
        # What is left over on a node is of use to a smaller group only.
        fit.sort(key=lambda node: (self._free(node), node.name))
        wanted = sorted(need.gpus_by_node, reverse=True)
        free = sorted(map(self._free, fit), reverse=True)
        enough = len(free) >= len(wanted)
        return fit if enough and all(a >= b for a, b in zip(free, wanted, strict=False)) else []

    def take(self, need: Need, node_ids: Sequence[str]) -> None:
        for node_id, gpus in zip(node_ids, need.gpus_by_node, strict=True):
            self._taken[node_id] += gpus
            self._groups[node_id] += 1

    def give(self, need: Need, node_ids: Sequence[str]) -> None:
        for node_id, gpus in zip(node_ids, need.gpus_by_node, strict=True):
            self._taken[node_id] -= gpus
            self._groups[node_id] -= 1

    def neighbours(self, node_ids: Iterable[str]) -> int:
        """Count the other groups on the nodes of one of ours."""
        return sum(max(0, self._groups[node_id] - 1) for node_id in node_ids)

    def blame(self, node_ids: Iterable[str]) -> list[Node]:
        """Count a failure against each node; return those that are avoided from now on."""
        turned = []
        for node_id in node_ids:
            self._failures[node_id] = self._failures.get(node_id, 0) + 1
            if self._failures[node_id] == BAD_AFTER and node_id in self.nodes:
                turned.append(self.nodes[node_id])
        return turned

    def bad(self, node_id: str) -> bool:
        return self._failures.get(node_id, 0) >= BAD_AFTER

    def ever_fits(self, need: Need) -> bool:
        """Say whether the nodes that are left could carry a group if all were free."""
        left = [node for node in self.nodes.values() if not self.bad(node.node_id)]
        return bool(Yard(left, share=self._share).room(need))

    def _fits(self, need: Need, node: Node) -> bool:
        if self.bad(node.node_id) or not need.suits(node):
            return False
        if self._groups[node.node_id] and not self._share:
            return False
        return self._free(node) >= min(need.gpus_by_node)

    def _free(self, node: Node) -> int:
        return node.gpus - self._taken[node.node_id]
