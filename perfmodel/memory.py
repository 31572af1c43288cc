"""What one GPU of a layout must hold, and the largest batch that leaves room for (eq. 20).

    M_weights,GPU + B · M_KV,GPU(L) ≤ C,   B_max = ⌊(C − M_weights) / M_KV(L)⌋

Eq. 20 of "The qs Inequality" (arXiv 2603.08960), per data-parallel replica.
"""

import math
from dataclasses import dataclass

import msgspec

from catalog.errors import BadValue, Infeasible
from catalog.hardware import Gpu
from catalog.models import Model
from catalog.units import DTYPE_BYTES, GIB, gib
from perfmodel.shard import context_ways, default_kv_dtype, shard
from strategies.layout import Layout


class Conventions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a memory estimate assumes, all of it shown with the result."""

    usable_fraction: float = 0.9
    """Share of the GPU's memory the server may take: vLLM's `--gpu-memory-utilization`."""
    reserve_bytes: float = 1.5 * GIB
    """Of that, what activations, captured graphs and the runtime keep."""
    kv_dtype: str | None = None
    """None keeps the cache in the computing type."""

    def __post_init__(self) -> None:
        if not 0 < self.usable_fraction <= 1:
            raise BadValue("usable fraction of memory", self.usable_fraction, "over 0, up to 1")
        if self.reserve_bytes < 0:
            raise BadValue("reserved memory", self.reserve_bytes, "0 or more bytes")
        if self.kv_dtype is not None and self.kv_dtype not in DTYPE_BYTES:
            raise BadValue("KV cache data type", self.kv_dtype, ", ".join(DTYPE_BYTES))


VLLM = Conventions()


@dataclass(frozen=True, slots=True)
class Memory:
    """One GPU's budget: the fullest one's, where experts or layers do not divide evenly."""

    capacity_bytes: float
    usable_bytes: float
    """After the usable fraction and the reserve."""
    reserve_bytes: float
    replicated_bytes: float
    """Attention, dense layers, shared experts, embeddings: the same on every replica."""
    layered_bytes: float
    """Of these, what lies in layers; the rest are head and embeddings."""
    layers: int
    expert_bytes: float
    kv_bytes_per_token: float
    """In the layers that see the whole context."""
    windowed_kv_bytes_per_token: float
    window: int | None
    state_bytes: float
    """Of one sequence, however long: layers that keep a state instead of a cache."""
    kv_ways: int
    """GPUs that share one sequence's cache, by heads, by position and by layer."""
    assumptions: tuple[str, ...]

    @property
    def weight_bytes(self) -> float:
        return self.replicated_bytes + self.expert_bytes

    @property
    def kv_budget_bytes(self) -> float:
        return self.usable_bytes - self.weight_bytes

    def taken_bytes(self, kv_usage: float) -> float:
        """M(u): weights, this share of the cache, activations, captured graphs and the runtime."""
        return self.weight_bytes + kv_usage * self.kv_budget_bytes + self.reserve_bytes

    def kv_bytes_per_sequence(self, context: int) -> float:
        """M_KV,GPU(L): windowed layers stop growing at their window, a state never grows."""
        near = context if self.window is None else min(context, self.window)
        growing = self.kv_bytes_per_token * context + self.windowed_kv_bytes_per_token * near
        return growing + self.state_bytes

    def largest_batch(self, context: int) -> int:
        """Most sequences of one replica at a context; 0 when the weights leave too little."""
        return max(0, math.floor(self.kv_budget_bytes / self.kv_bytes_per_sequence(context)))

    def kv_tokens(self, context: int) -> int:
        """Tokens one replica's cache holds in sequences of this length."""
        per_token = self.kv_bytes_per_sequence(context) / context
        return max(0, math.floor(self.kv_budget_bytes / per_token))

    def check(self, context: int) -> None:
        """Raise Infeasible, naming the number that fails, unless one sequence fits."""
        if self.kv_budget_bytes <= 0:
            raise Infeasible(
                f"weights take {gib(self.weight_bytes)} of each GPU ({gib(self.expert_bytes)} of "
                f"it experts), {gib(self.usable_bytes)} of {gib(self.capacity_bytes)} are usable"
            )
        one = self.kv_bytes_per_sequence(context)
        if one > self.kv_budget_bytes:
            raise Infeasible(
                f"one sequence of {context} tokens needs {gib(one)} of KV cache on each GPU, "
                f"{gib(self.kv_budget_bytes)} are left beside {gib(self.weight_bytes)} of weights"
            )


def memory(model: Model, layout: Layout, gpu: Gpu, conventions: Conventions = VLLM) -> Memory:
    """Budget one GPU: layers over pp, attention over tp, experts over a stage's tp·dp ranks."""
    ways = context_ways(layout)
    part = shard(model, tp=layout.tp, context_ways=ways, kv_dtype=conventions.kv_dtype)
    layers = math.ceil(model.layers / layout.pp)
    stage = layers / model.layers
    layered = (part.attention_bytes + part.dense_bytes) * stage
    both = part.head_bytes + part.embedding_bytes
    ends = both if layout.pp == 1 else part.head_bytes  # the input table is as large as the head
    return Memory(
        capacity_bytes=gpu.memory_bytes,
        usable_bytes=gpu.memory_bytes * conventions.usable_fraction - conventions.reserve_bytes,
        reserve_bytes=conventions.reserve_bytes,
        replicated_bytes=float(layered + ends),
        layered_bytes=float(layered),
        layers=layers,
        expert_bytes=float(stage * _experts_per_layer(model, layout) * part.expert_bytes)
        * (model.experts.layers if model.experts else 0),
        kv_bytes_per_token=float(part.kv_bytes_full * stage),
        windowed_kv_bytes_per_token=float(part.kv_bytes_windowed * stage),
        window=model.window,
        state_bytes=float(part.state_bytes * stage),
        kv_ways=min(layout.tp, model.attention.kv_heads) * ways * layout.pp,
        assumptions=_assumptions(model, layout, conventions),
    )


def redundant_experts(layout: Layout) -> int:
    return int(dict(layout.knobs).get("eplb", "0"))


def _experts_per_layer(model: Model, layout: Layout) -> float:
    """Whole experts, or their worth in slices, on the fullest GPU."""
    if model.experts is None:
        return 0.0
    if not layout.ep:
        return model.experts.count / layout.expert_slices
    return math.ceil((model.experts.count + redundant_experts(layout)) / layout.ep_degree)


def _assumptions(model: Model, layout: Layout, conventions: Conventions) -> tuple[str, ...]:
    expert_dtype = model.expert_dtype or model.weight_dtype
    return (
        f"{conventions.usable_fraction:.0%} of memory usable, "
        f"{gib(conventions.reserve_bytes)} of it for activations and runtime",
        f"weights in {model.weight_dtype}, experts in {expert_dtype}",
        f"KV cache in {conventions.kv_dtype or default_kv_dtype(model)}",
        f"cache split {min(layout.tp, model.attention.kv_heads)} ways by heads, "
        f"{context_ways(layout)} by position, {layout.pp} by layer",
        "experts " + ("whole" if layout.ep else "sliced") + f" over {layout.tp * layout.dp} GPUs",
    )
