"""What a technique leaves in host memory, taken out of a GPU's budget before the start."""

from collections.abc import Callable

from catalog.models import Model
from catalog.units import gib
from perfmodel.memory import Memory
from perfmodel.offload import any_offloaded, layers_offloaded, offloaded_layers
from strategies.technique import Technique

Offloading = Callable[[Memory, Technique, Model], tuple[Memory, str]]
"""Returns what is left on the GPU, and in words what that assumes; empty without offloading."""


def offloading(budget: Memory, technique: Technique, _held: Model) -> tuple[Memory, str]:
    """Take out weights of each GPU, or whole layers, that stay in host memory."""
    host_bytes = technique.offloaded_bytes
    if host_bytes:
        return any_offloaded(budget, host_bytes), f"{gib(host_bytes)} of them in host memory"
    layers = technique.knobs("layer-offload")
    if layers is not None:
        return _with_layers(budget, {name: int(value) for name, value in layers.items()})
    return budget, ""


def _with_layers(budget: Memory, knobs: dict[str, int]) -> tuple[Memory, str]:
    group, last, ahead = knobs.get("group", 8), knobs.get("layers", 2), knobs.get("ahead", 1)
    count = offloaded_layers(budget.layers, group=group, last=last)
    told = f"{count} of {budget.layers} layers in host memory and room for {ahead} fetched ahead"
    return layers_offloaded(budget, group=group, last=last, ahead=ahead), told
