"""Server groups of more than one node: how many nodes, and the plan that allows them."""

from collections.abc import Mapping

from orchestrator.cluster.resources import only_feasible, resource_request
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.ray_options import RayOptions
from orchestrator.experiment.server_group import Pool
from orchestrator.host.nodes import Node
from orchestrator.plan import Plan

MOST_NODES = 64
"""Larger groups than any study of layouts has."""
ANY_SIZE = 1 << 20


def gpus_by_node(
    setup: Setup, gpus_per_node: Mapping[str, int], options: RayOptions
) -> tuple[int, ...]:
    """Return the GPUs that a server takes on each node; Infeasible if they do not spread."""
    assert setup.layout is not None
    size = gpus_per_node.get(setup.hardware)
    if size is None:
        return (setup.layout.num_gpus,)
    return resource_request(setup, _nodes(setup.hardware, size, MOST_NODES), options).gpus_by_node


def only_spreadable(plan: Plan, pool: Pool, options: RayOptions) -> Plan:
    """Refuse what cannot be spread over nodes of these sizes; an unknown size is no limit."""
    requested = {setup.hardware for setup in plan.setups}
    nodes = [
        node
        for hardware in sorted({*requested, *pool.gpus_per_node})
        for node in (
            _nodes(hardware, pool.gpus_per_node[hardware], MOST_NODES)
            if hardware in pool.gpus_per_node
            else _nodes(hardware, ANY_SIZE, 1)
        )
    ]
    return only_feasible(plan, nodes, options)


def _nodes(hardware: str, gpus: int, count: int) -> list[Node]:
    name = f"{hardware}-node"
    return [
        Node(f"{name}{i}", name, "", gpus=gpus, accelerator_type=hardware, recorded=True)
        for i in range(count)
    ]
