"""The nodes of a cluster, and which of the catalog's GPUs each has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from catalog.hardware_table import ALIASES, GPUS

TYPE_LABEL = "ray.io/accelerator-type"
TYPE_RESOURCE = "accelerator_type:"


@dataclass(frozen=True, slots=True)
class Node:
    """One node as Ray tells of it."""

    node_id: str
    name: str
    address: str
    gpus: int
    kind: str = ""
    """Ray's name of its GPUs; empty where Ray does not know them."""
    cpus: float = 0.0
    port: int = 0
    """Of its raylet: whoever answers there is a node that lives."""

    def carries(self, hardware: str) -> bool:
        """Say whether servers for this GPU may run here.

        Ray's "A100" is any A100: its node says which when a server comes to it.
        """
        kind = self.kind
        if not kind:
            return True
        named = {kind, f"{kind}B", ALIASES.get(kind, kind)}
        return hardware in named or hardware.startswith(f"{kind}-")

    @property
    def hardware(self) -> str:
        """The catalog's name of these GPUs, "" where nothing tells it."""
        preferred = ALIASES.get(self.kind, "")
        return preferred or next((name for name in GPUS if self.kind and self.carries(name)), "")


def node_from(
    node_id: str,
    name: str,
    address: str,
    resources: Mapping[str, float],
    labels: Mapping[str, str],
    *,
    port: int = 0,
) -> Node:
    """Read what Ray says of a node."""
    kinds = [key.removeprefix(TYPE_RESOURCE) for key in resources if key.startswith(TYPE_RESOURCE)]
    return Node(
        node_id=node_id,
        name=name or address,
        address=address,
        gpus=int(resources.get("GPU", 0)),
        kind=labels.get(TYPE_LABEL, "") or next(iter(kinds), ""),
        cpus=resources.get("CPU", 0.0),
        port=port,
    )


def told(nodes: Iterable[Node]) -> str:
    """Say in a few words what there is: `3 nodes of 4 A100, 1 node without a GPU`."""
    counts: dict[str, int] = {}
    for node in nodes:
        what = f"of {node.gpus} {node.kind or 'GPUs'}" if node.gpus else "without a GPU"
        counts[what] = counts.get(what, 0) + 1
    parts = [f"{count} node{'s' if count > 1 else ''} {what}" for what, count in counts.items()]
    return ", ".join(parts) or "no node"


def usual_hardware(nodes: Iterable[Node]) -> str:
    """Return the GPU that most of the cluster's GPUs are; "CPU" where there is none."""
    counts: dict[str, int] = {}
    for node in nodes:
        if node.gpus and node.hardware:
            counts[node.hardware] = counts.get(node.hardware, 0) + node.gpus
    return max(counts, key=counts.__getitem__) if counts else "CPU"
