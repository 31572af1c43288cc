"""Which ranks of a layout share a node."""

from catalog.errors import Infeasible
from strategies.layout import Layout


def place(layout: Layout, *, gpus_per_node: int, allow_split: bool = False) -> tuple[int, ...]:
    """Pack whole tensor-parallel groups onto as few nodes as hold them; return GPUs by node.

    Node i holds ranks sum(gpus[:i]) onwards. A group larger than a node is split only when
    `allow_split` says so.
    """
    if layout.tp > gpus_per_node:
        if not allow_split:
            raise Infeasible(
                f"{layout.name}: tp = {layout.tp} needs {layout.tp} GPUs on one node, a node has "
                f"{gpus_per_node}; a tensor-parallel group is split over nodes only when allowed"
            )
        return _fill(layout.num_gpus, gpus_per_node)
    whole_groups = gpus_per_node // layout.tp * layout.tp
    return _fill(layout.num_gpus, whole_groups)


def _fill(num_gpus: int, per_node: int) -> tuple[int, ...]:
    full, rest = divmod(num_gpus, per_node)
    return (per_node,) * full + ((rest,) if rest else ())
