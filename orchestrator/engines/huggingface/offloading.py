"""Experts that the transformers engine leaves in host memory, taken out of a GPU's budget."""

from catalog.models import Model
from catalog.units import DTYPE_BYTES
from orchestrator.experiment.offloaded_model import offloading
from perfmodel.memory import Memory
from perfmodel.offload import WeightLimits, experts_cached, spread_weights
from servers.huggingface.dispatch import options as dispatch
from servers.huggingface.dispatch.options import DispatchOptions
from servers.huggingface.offload.options import (
    OffloadOptions,
    budget_of,
    check_offload,
    expert_bytes_of,
)
from strategies.technique import Technique


def expert_offloading(budget: Memory, technique: Technique, held: Model) -> tuple[Memory, str]:
    """Take out experts too, of which a cache stays on the GPU."""
    spread = dispatch.options_of(technique)
    if spread is not None:
        return _with_layers_brought_in(budget, spread)
    options = budget_of(technique)
    if options is None or held.experts is None:
        return offloading(budget, technique, held)
    return _with_cache(budget, options, held)


def _with_layers_brought_in(budget: Memory, spread: DispatchOptions) -> tuple[Memory, str]:
    """Leave on the GPU what it may hold, or one layer where nobody says how much that is."""
    fits = budget.weight_bytes <= budget.usable_bytes
    if spread.gpu_bytes is None and fits:
        return budget, ""
    least = (budget.layered_bytes + budget.expert_bytes) / budget.layers
    limits = WeightLimits(gpu_bytes=spread.gpu_bytes or least, host_bytes=spread.cpu_bytes)
    found = spread_weights(budget, limits, 1)
    return found.memory, found.told


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
