"""What a technique leaves in host memory, taken out of a GPU's budget before the start."""

from catalog.models import Model
from catalog.units import DTYPE_BYTES, gib
from orchestrator.hfserver.offload.options import (
    OffloadOptions,
    budget_of,
    check_offload,
    expert_bytes_of,
)
from perfmodel.memory import Memory
from perfmodel.offload import any_offloaded, experts_cached, layers_offloaded, offloaded_layers
from strategies.technique import Technique


def with_offloading(
    budget: Memory, technique: Technique, held: Model, *, engine: str
) -> tuple[Memory, str]:
    """Return what is left on the GPU, and in words what that assumes; empty without offloading."""
    host_bytes = technique.offloaded_bytes
    if host_bytes:
        return any_offloaded(budget, host_bytes), f"{gib(host_bytes)} of them in host memory"
    layers = technique.knobs("layer-offload")
    if layers is not None:
        return _with_layers(budget, {name: int(value) for name, value in layers.items()})
    options = budget_of(technique) if engine == "transformers" else None
    if options is not None and held.experts is not None:
        return _with_cache(budget, options, held)
    return budget, ""


def _with_layers(budget: Memory, knobs: dict[str, int]) -> tuple[Memory, str]:
    group, last, ahead = knobs.get("group", 8), knobs.get("layers", 2), knobs.get("ahead", 1)
    count = offloaded_layers(budget.layers, group=group, last=last)
    told = f"{count} of {budget.layers} layers in host memory and room for {ahead} fetched ahead"
    return layers_offloaded(budget, group=group, last=last, ahead=ahead), told


def _with_cache(budget: Memory, options: OffloadOptions, held: Model) -> tuple[Memory, str]:
    """Count the cache, and where its experts are int8 the one that is widened to be multiplied."""
    assert held.experts is not None
    slots = check_offload(held, options)
    cache_bytes = slots * expert_bytes_of(held, int8=options.experts == "int8")
    if options.experts == "int8":
        widened = held.experts.params_per_expert(held.hidden)
        cache_bytes += widened * DTYPE_BYTES[held.weight_dtype]
    told = f"{slots} of {held.experts.layers * held.experts.count} experts resident"
    return experts_cached(budget, cache_bytes), told
