"""What a server group asks of a cluster, refused before anything starts when nothing has it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from catalog.errors import Infeasible
from orchestrator.cells import Setup
from orchestrator.cluster.nodes import Node, told
from orchestrator.cluster.options import RayOptions
from orchestrator.plan import Plan, Refused
from strategies.layout import Layout
from strategies.placement import place

AGENT_CPUS = 1.0
"""The agent with its load generator; an actor's bundle must hold its CPU too."""


@dataclass(frozen=True, slots=True)
class Need:
    """GPUs on each of the nodes that a group takes; one node with 0 where it needs none."""

    gpus_by_node: tuple[int, ...]
    hardware: str
    """Empty where any node will do."""

    def suits(self, node: Node) -> bool:
        """Say whether the node could carry the smallest part of it."""
        if not self.hardware:
            return True
        return node.gpus >= min(self.gpus_by_node) and node.carries(self.hardware)

    def __str__(self) -> str:
        gpus, nodes = self.gpus_by_node, len(self.gpus_by_node)
        if not self.hardware:
            return "one node"
        if nodes == 1:
            return f"{gpus[0]} {self.hardware} on one node"
        return f"{' + '.join(map(str, gpus))} {self.hardware} on {nodes} nodes"


def need_of(setup: Setup, nodes: Sequence[Node], options: RayOptions) -> Need:
    """Return what one server needs of these nodes; Infeasible says what is needed and what is.

    Simulated servers take the GPUs that real ones would, where the cluster has any.
    """
    layout = setup.layout
    virtual = setup.engine == "simulated" and not any(node.gpus for node in nodes)
    if layout is None or virtual or setup.hardware in ("", "CPU"):
        return Need((0,), "")
    suited = [node for node in nodes if node.gpus and node.carries(setup.hardware)]
    if not suited:
        raise Infeasible(
            f"{layout.name}: needs {layout.num_gpus} {setup.hardware}, there are {told(nodes)}"
        )
    need = Need(_spread(layout, max(node.gpus for node in suited), options), setup.hardware)
    sizes = sorted((node.gpus for node in suited), reverse=True)
    wanted = sorted(need.gpus_by_node, reverse=True)
    if len(sizes) < len(wanted) or any(a < b for a, b in zip(sizes, wanted, strict=False)):
        raise Infeasible(f"{layout.name}: needs {need}, there are {told(nodes)}")
    return need


def _spread(layout: Layout, largest: int, options: RayOptions) -> tuple[int, ...]:
    """Return GPUs by node: whole replicas on as few nodes as hold them, else one replica's parts.

    A pipeline stage is a tensor-parallel group: a pipeline may span nodes unasked, a stage not.
    """
    replica = layout.tp * layout.pp
    if replica <= largest:
        return place(Layout(tp=replica, dp=layout.dp), gpus_per_node=largest).gpus_by_node
    if layout.dp > 1:
        raise Infeasible(
            f"{layout.name}: a replica of {replica} GPUs spans nodes of {largest}, which is for a "
            "single replica only"
        )
    spread = place(layout, gpus_per_node=largest, allow_split=options.split_tp).gpus_by_node
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
            need_of(setup, nodes, options)
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
