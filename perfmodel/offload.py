"""One GPU's budget when some of its weights stay in host memory. All of these are estimates."""

import math
from dataclasses import dataclass, replace

import msgspec

from catalog.errors import BadValue, Infeasible
from catalog.hardware import Gpu
from catalog.units import gib
from perfmodel.memory import Memory


class WeightLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most weights on the GPU and in host memory; what is left over is on disk."""

    gpu_bytes: float | None = None
    """None: whatever leaves room for one longest sequence."""
    host_bytes: float | None = None
    """None: all that the GPU does not hold."""


@dataclass(frozen=True, slots=True)
class SpreadWeights:
    """One GPU's weights by where they stay; those elsewhere are brought in for every step."""

    memory: Memory
    host_bytes: float
    disk_bytes: float

    @property
    def told(self) -> str:
        return (
            f"{gib(self.host_bytes)} of weights in host memory and {gib(self.disk_bytes)} on disk, "
            "brought in for every step, one layer after the other"
        )

    def seconds(self, gpu: Gpu) -> float:
        """t = (M_host + M_disk) / BW_link + M_disk / BW_disk, a step; nothing of it is hidden.

        accelerate's hooks fetch a layer when it is its turn: from disk into host memory, then over
        the link. At peak bandwidths this is a floor. BadValue where a bandwidth is not known.
        """
        moved = self.host_bytes + self.disk_bytes
        link_s = _seconds(moved, gpu.host_link_bytes_per_s, "host_link_bytes_per_s", gpu)
        return link_s + _seconds(self.disk_bytes, gpu.disk_bytes_per_s, "disk_bytes_per_s", gpu)


def _seconds(moved: float, bandwidth: float | None, field: str, gpu: Gpu) -> float:
    if not moved:
        return 0.0
    if bandwidth is None:
        allowed = f"a bandwidth for the {gib(moved)} that pass it: --hardware FILE with this field"
        raise BadValue(f"{field} of {gpu.name}", None, allowed)
    return moved / bandwidth


def spread_weights(budget: Memory, limits: WeightLimits, longest: int) -> SpreadWeights:
    """Fill the GPU, then host memory, then the disk, as accelerate's device map does.

    Where not all fits, the GPU keeps room for one layer that is brought in. Layers count as alike.
    """
    # A byte less: the shares below may round up.
    room = budget.usable_bytes - budget.kv_bytes_per_sequence(longest) - 1.0
    most = room if limits.gpu_bytes is None else limits.gpu_bytes
    if budget.weight_bytes <= most:
        return SpreadWeights(budget, 0.0, 0.0)
    layer = (budget.layered_bytes + budget.expert_bytes) / budget.layers
    if layer > most:
        raise Infeasible(
            f"one layer takes {gib(layer)} when it is brought in, the GPU may hold {gib(most)}"
        )
    left = budget.weight_bytes - (most - layer)
    host = min(left, math.inf if limits.host_bytes is None else limits.host_bytes)
    share = most / budget.weight_bytes
    held = replace(
        budget,
        replicated_bytes=budget.replicated_bytes * share,
        expert_bytes=budget.expert_bytes * share,
        layered_bytes=budget.layered_bytes * share,
    )
    spread = SpreadWeights(held, host, left - host)
    return replace(spread, memory=replace(held, assumptions=(*held.assumptions, spread.told)))


def any_offloaded(budget: Memory, host_bytes: float) -> Memory:
    """Leave this many bytes on the host, of whichever weights: taken evenly from all."""
    share = min(1.0, host_bytes / budget.weight_bytes)
    return replace(
        budget,
        replicated_bytes=budget.replicated_bytes * (1 - share),
        expert_bytes=budget.expert_bytes * (1 - share),
    )


def offloaded_layers(layers: int, *, group: int, last: int) -> int:
    """Count the layers that vLLM leaves on the host: of each `group` the `last` ones."""
    return sum(layer % group >= group - last for layer in range(layers))


def layers_offloaded(budget: Memory, *, group: int, last: int, ahead: int) -> Memory:
    """Leave whole layers on the host and keep room for those fetched `ahead`, as vLLM does.

    With n of N layers on the host, M = M_ends + M_layers (N − n + ahead) / N; n = 0 changes
    nothing. vLLM allocates all the `ahead` buffers however few layers are offloaded
    (`PrefetchOffloader`). Layers count as alike, which those of DeepSeek, first dense, are not.
    """
    count = offloaded_layers(budget.layers, group=group, last=last)
    share = (count - ahead) / budget.layers if count else 0.0
    return replace(
        budget,
        replicated_bytes=budget.replicated_bytes - share * budget.layered_bytes,
        expert_bytes=budget.expert_bytes * (1 - share),
        layered_bytes=budget.layered_bytes * (1 - share),
    )


def experts_cached(budget: Memory, cache_bytes: float) -> Memory:
    """Hold a cache of experts instead of all of them."""
    return replace(budget, expert_bytes=cache_bytes)
