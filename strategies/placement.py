"""Which ranks of a layout share a node."""

from dataclasses import dataclass

from catalog.errors import Infeasible
from strategies.layout import Layout


@dataclass(frozen=True, slots=True)
class Placement:
    """GPUs taken on each node, in rank order; node i holds ranks sum(gpus[:i]) onwards."""

    gpus_by_node: tuple[int, ...]
    splits_tensor_group: bool

    @property
    def num_nodes(self) -> int:
        return len(self.gpus_by_node)

    @property
    def warnings(self) -> tuple[str, ...]:
        if not self.splits_tensor_group:
            return ()
        return ("a tensor-parallel group spans nodes: its all-reduces use the slower link",)


def place(layout: Layout, *, gpus_per_node: int, allow_split: bool = False) -> Placement:
    """Pack whole tensor-parallel groups onto as few nodes as hold them.

    A group larger than a node is split only when `allow_split` says so.
    """
    if layout.tp > gpus_per_node:
        if not allow_split:
            raise Infeasible(
                f"{layout.name}: tp = {layout.tp} needs {layout.tp} GPUs on one node, a node has "
                f"{gpus_per_node}; a tensor-parallel group is split over nodes only when allowed"
            )
        return Placement(_fill(layout.num_gpus, gpus_per_node), splits_tensor_group=True)
    whole_groups = gpus_per_node // layout.tp * layout.tp
    return Placement(_fill(layout.num_gpus, whole_groups), splits_tensor_group=False)


def _fill(num_gpus: int, per_node: int) -> tuple[int, ...]:
    full, rest = divmod(num_gpus, per_node)
    return (per_node,) * full + ((rest,) if rest else ())
