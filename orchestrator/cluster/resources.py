"""What a server group requests of a cluster; refused before anything starts if impossible."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from catalog.errors import Infeasible
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.ray_options import RayOptions
from orchestrator.host.nodes import Node, summarise_nodes
from orchestrator.plan import Plan, Refused
from strategies.layout import Layout
from strategies.placement import place

AGENT_CPUS = 1.0
"""The agent with its load generator; an actor's bundle must hold its CPU too."""
HOW_TO_OFFER = "`ray start --num-cpus=1` or more offers one"


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """GPUs on each of the nodes that a group takes; one node with 0 where it needs none."""

    gpus_by_node: tuple[int, ...]
    hardware: str
    """Empty where any node will do."""

    def accepts(self, node: Node) -> bool:
        """Return whether the node could hold the smallest part of the request."""
        if not has_cpu(node):
            return False
        if not self.hardware:
            return True
        return node.gpus >= min(self.gpus_by_node) and node.provides(self.hardware)

    def __str__(self) -> str:
        gpus, nodes = self.gpus_by_node, len(self.gpus_by_node)
        if not self.hardware:
            return "one node"
        if nodes == 1:
            return f"{gpus[0]} {self.hardware} on one node"
        return f"{' + '.join(map(str, gpus))} {self.hardware} on {nodes} nodes"


def has_cpu(node: Node) -> bool:
    """Return whether an agent can run on a node: Ray would wait for its CPU for ever."""
    return node.cpus is None or node.cpus >= AGENT_CPUS


def resource_request(setup: Setup, nodes: Sequence[Node], options: RayOptions) -> ResourceRequest:
    """Return what one server requests of these nodes; Infeasible if they do not have it.

    Simulated servers take the GPUs that real ones would, where the cluster has any.
    """
    layout = setup.layout
    virtual = engine_kind(setup.engine).virtual and not any(node.gpus for node in nodes)
    if layout is None or virtual or setup.hardware in ("", "CPU"):
        if nodes and not any(map(has_cpu, nodes)):
            raise Infeasible(f"no node has a CPU for the load generator; {HOW_TO_OFFER}")
        return ResourceRequest((0,), "")
    having = [node for node in nodes if node.gpus and node.provides(setup.hardware)]
    matching = [node for node in having if has_cpu(node)]
    told = summarise_nodes(nodes)
    if idle := len(having) - len(matching):
        told += f"; {idle} of them without a CPU for the load generator: {HOW_TO_OFFER}"
    if not matching:
        raise Infeasible(
            f"{layout.name}: needs {layout.num_gpus} {setup.hardware}, there are {told}"
        )
    request = ResourceRequest(
        _gpus_by_node(layout, max(node.gpus for node in matching), options), setup.hardware
    )
    sizes = sorted((node.gpus for node in matching), reverse=True)
    needed = sorted(request.gpus_by_node, reverse=True)
    if len(sizes) < len(needed) or any(a < b for a, b in zip(sizes, needed, strict=False)):
        raise Infeasible(f"{layout.name}: needs {request}, there are {told}")
    return request


def _gpus_by_node(layout: Layout, largest: int, options: RayOptions) -> tuple[int, ...]:
    """Return GPUs by node: whole replicas on as few nodes as hold them, else one replica's parts.

    A pipeline stage is a tensor-parallel group: a pipeline may span nodes unasked, a stage not.
    """
    replica = layout.tp * layout.pp
    if replica <= largest:
        return place(Layout(tp=replica, dp=layout.dp), gpus_per_node=largest)
    if layout.dp > 1:
        raise Infeasible(
            f"{layout.name}: a replica of {replica} GPUs spans nodes of {largest}, which is for a "
            "single replica only"
        )
    spread = place(layout, gpus_per_node=largest, allow_split=options.split_tp)
    even, rest = divmod(layout.num_gpus, len(spread))
    if rest:
        raise Infeasible(
            f"{layout.name}: {layout.num_gpus} GPUs do not spread evenly over {len(spread)} nodes"
        )
    return (even,) * len(spread)


def only_feasible(plan: Plan, nodes: Sequence[Node], options: RayOptions) -> Plan:
    """Refuse what this cluster cannot carry; nothing left is Infeasible."""
    reasons: dict[Setup, str] = {}
    for setup in plan.setups:
        try:
            resource_request(setup, nodes, options)
        except Infeasible as error:
            reasons[setup] = str(error)
    if len(reasons) == len(plan.setups):
        first = next(iter(reasons.values()))
        raise Infeasible(f"RAY_INFEASIBLE: {first}")
    return replace(
        plan,
        setups=tuple(setup for setup in plan.setups if setup not in reasons),
        groups=tuple(group for group in plan.groups if group.setup not in reasons),
        refused=(*plan.refused, *(Refused(setup, (why,)) for setup, why in reasons.items())),
    )
