"""The nodes of a cluster, and which of the catalog's GPUs each has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from catalog.hardware_table import GPUS, known_gpu, named_within
from strategies.own_gpus import is_hashed

TYPE_LABEL = "ray.io/accelerator-type"
TYPE_RESOURCE = "accelerator_type:"


@dataclass(frozen=True, slots=True)
class Node:
    """One node as Ray describes it."""

    node_id: str
    name: str
    address: str
    gpus: int
    accelerator_type: str = ""
    """Ray's name of its GPUs; empty where Ray does not know them."""
    cpus: float | None = None
    """That it offers Ray; None where Ray is not asked."""
    port: int = 0
    """Of its raylet: a node that is alive answers there."""
    recorded: bool = False
    """Whether `accelerator_type` is the name that GPUs are recorded under, rather than Ray's."""

    def provides(self, hardware: str) -> bool:
        """Return whether servers for this GPU may run here.

        Ray's "A100" is any A100, and may be a user's own: its node says which when a server comes
        to it.
        """
        kind = self.accelerator_type
        if not kind or kind == hardware:
            return True
        if self.recorded or is_hashed(hardware):
            return not self.recorded
        if hardware not in GPUS:
            return named_within(kind, hardware)
        known = known_gpu(kind)
        return hardware.startswith(f"{kind}-") or (known is not None and hardware == known.name)

    @property
    def hardware(self) -> str:
        """The catalog's name of these GPUs where it can only be one, else Ray's; "" if unknown."""
        if (known := known_gpu(self.accelerator_type)) is not None:
            return known.name
        family = [name for name in GPUS if self.accelerator_type and self.provides(name)]
        return family[0] if len(family) == 1 else self.accelerator_type


def parse_node(
    node_id: str,
    name: str,
    address: str,
    resources: Mapping[str, float],
    labels: Mapping[str, str],
    *,
    port: int = 0,
) -> Node:
    """Build a node from Ray's fields of it."""
    kinds = [key.removeprefix(TYPE_RESOURCE) for key in resources if key.startswith(TYPE_RESOURCE)]
    return Node(
        node_id=node_id,
        name=name or address,
        address=address,
        gpus=int(resources.get("GPU", 0)),
        accelerator_type=labels.get(TYPE_LABEL, "") or next(iter(kinds), ""),
        cpus=float(resources.get("CPU", 0.0)),
        port=port,
    )


def summarise_nodes(nodes: Iterable[Node]) -> str:
    """Summarise nodes, those without a GPU last: `3 nodes of 4 A100, 1 node without a GPU`."""
    counts: dict[str, int] = {}
    for node in sorted(nodes, key=lambda each: not each.gpus):
        what = f"of {node.gpus} {node.accelerator_type or 'GPUs'}" if node.gpus else "without a GPU"
        counts[what] = counts.get(what, 0) + 1
    parts = [f"{count} node{'s' if count > 1 else ''} {what}" for what, count in counts.items()]
    return ", ".join(parts) or "no node"


def most_common_gpu(nodes: Iterable[Node]) -> str:
    """Return the most common GPU of the cluster; "CPU" if it has none."""
    counts: dict[str, int] = {}
    for node in nodes:
        if node.gpus and node.hardware:
            counts[node.hardware] = counts.get(node.hardware, 0) + node.gpus
    return max(counts, key=counts.__getitem__) if counts else "CPU"
