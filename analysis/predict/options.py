"""What there is to choose from: layouts of one number of GPUs, and the families they belong to."""

from catalog.errors import BadValue
from strategies.layout import Layout

MOST_GPUS = 64


def family(layout: Layout) -> str:
    """The kind of a layout, whatever its degrees."""
    if layout.num_gpus == 1:
        return "single"
    if layout.pp > 1:
        return "pp"
    if layout.ep:
        return "ep" if layout.tp == 1 else "tp+ep"
    return "tp" if layout.dp == 1 else "dp"


def layouts_for(gpus: int, *, per_node: int = 8) -> tuple[Layout, ...]:
    """Tensor, expert and mixed parallelism over exactly this many GPUs.

    Over several nodes also a pipeline of them, each a tensor-parallel stage, as recipes of large
    models have it.
    """
    if not 1 <= gpus <= MOST_GPUS:
        raise BadValue("gpus", gpus, f"1 to {MOST_GPUS}")
    if gpus == 1:
        return (Layout(),)
    degrees = [tp for tp in range(1, gpus + 1) if gpus % tp == 0]
    mixed = [Layout(tp=tp, dp=gpus // tp, ep=True) for tp in degrees]
    return (Layout(tp=gpus), *mixed, *_stages(gpus, per_node))


def _stages(gpus: int, per_node: int) -> list[Layout]:
    if gpus <= per_node or gpus % per_node:
        return []
    return [Layout(tp=per_node, pp=gpus // per_node, ep=ep) for ep in (False, True)]


def study_layouts(gpus: int) -> tuple[Layout, ...]:
    """One layout a family: what the published study compared, at this number of GPUs."""
    mixed = [Layout(tp=2, dp=gpus // 2, ep=True)] if gpus >= 4 and gpus % 2 == 0 else []
    return (Layout(tp=gpus), Layout(dp=gpus, ep=True), *mixed)
