"""Server groups of more than one node: how many nodes, and the plan that allows them."""

from collections.abc import Mapping

from orchestrator.cells import Setup
from orchestrator.cluster.need import need_of, only_feasible
from orchestrator.cluster.nodes import Node
from orchestrator.cluster.options import RayOptions
from orchestrator.plan import Plan, Pool

MOST_NODES = 64
"""Larger groups than any study of layouts has."""
ANY_SIZE = 1 << 20


def spread_of(
    setup: Setup, gpus_per_node: Mapping[str, int], options: RayOptions
) -> tuple[int, ...]:
    """Return the GPUs that a server takes on each node; Infeasible if they do not spread."""
    assert setup.layout is not None
    size = gpus_per_node.get(setup.hardware)
    if size is None:
        return (setup.layout.num_gpus,)
    return need_of(setup, _nodes(setup.hardware, size, MOST_NODES), options).gpus_by_node


def spreadable(plan: Plan, pool: Pool, options: RayOptions) -> Plan:
    """Refuse what cannot be spread over nodes of these sizes; a size nobody told is no limit."""
    asked = {setup.hardware for setup in plan.setups}
    nodes = [
        node
        for hardware in sorted({*asked, *pool.gpus_per_node})
        for node in (
            _nodes(hardware, pool.gpus_per_node[hardware], MOST_NODES)
            if hardware in pool.gpus_per_node
            else _nodes(hardware, ANY_SIZE, 1)
        )
    ]
    return only_feasible(plan, nodes, options)


def _nodes(hardware: str, gpus: int, count: int) -> list[Node]:
    name = f"{hardware}-node"
    return [Node(f"{name}{i}", name, "", gpus=gpus, kind=hardware) for i in range(count)]
