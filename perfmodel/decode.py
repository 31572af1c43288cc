"""One decode step of many partitions at once: phases, exposed communication, and what bounds each.

Per layer and phase max(bytes / BW, FLOP / peak), summed, as the qs paper's table 5 requires of its
eq. 19. Each family of collectives hides under its own phase: cache exchanges under attention, the
tensor-parallel all-reduce under the projections, dispatch and reduction under the feed-forward.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from catalog.hardware import Gpu
from catalog.models import LatentAttention, Model
from catalog.units import DTYPE_BYTES
from perfmodel.arrays import FloatArray, Real
from perfmodel.collectives import (
    Wires,
    all_gather,
    all_reduce,
    all_to_all,
    exposed,
    fabrics,
    point_to_point,
    reduce_scatter,
)
from perfmodel.constants import ROOFLINE, Constants
from perfmodel.experts import touched
from perfmodel.partition import Partitions
from perfmodel.shard import default_kv_dtype, shard

PHASES = ("attention", "projections", "feed-forward", "experts", "head")


@dataclass(frozen=True, slots=True)
class DecodeCost:
    """Seconds of one step over all layers, shape (n,) each; `phases` shape (phases, n)."""

    memory_s: FloatArray
    compute_s: FloatArray
    communication_s: FloatArray
    """Exposed."""
    host_s: FloatArray
    moved_bytes: FloatArray
    """Bytes the busiest GPU reads in the step."""

    @property
    def phases_s(self) -> FloatArray:
        return np.maximum(self.memory_s, self.compute_s)

    @property
    def total_s(self) -> FloatArray:
        total: FloatArray = self.phases_s.sum(axis=0) + self.communication_s + self.host_s
        return total


class Pricing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a partition search assumes of the machine and the server."""

    constants: Constants = ROOFLINE
    dispatch: Literal["best", "gather", "all-to-all"] = "best"
    """How tokens of other replicas reach their experts: vLLM's all-gather and reduce-scatter, a
    true all-to-all, or the faster of the two for each partition."""


ASSUMED = Pricing()


class DecodeModel:
    """Prices decode steps of one model on one kind of GPU for given partitions."""

    def __init__(
        self, model: Model, parts: Partitions, gpu: Gpu, pricing: Pricing = ASSUMED
    ) -> None:
        self.model, self.parts, self.gpu = model, parts, gpu
        self.constants, self._dispatch = pricing.constants, pricing.dispatch
        self.shard = shard(model, tp=parts.tp, context_ways=parts.context_ways)
        self._token_bytes = model.hidden * DTYPE_BYTES[default_kv_dtype(model)]

    def cost(self, batch: FloatArray, context: int) -> DecodeCost:
        """Price a step of `batch` sequences over all replicas, shape (n,), at one context."""
        replica = np.ceil(batch / self.parts.dp)
        ways = np.clip(replica, 1, self.parts.pp)
        tokens = np.maximum(replica / ways, 1.0)
        moved, flops, peaks = self._work(tokens, context)
        constants, gpu = self.constants, self.gpu
        memory_s = moved / (gpu.bandwidth_bytes_per_s * constants.memory_efficiency)
        compute_s = flops / (peaks[:, None] * constants.compute_efficiency)
        phases_s = np.maximum(memory_s, compute_s)
        return DecodeCost(
            memory_s=memory_s,
            compute_s=compute_s,
            communication_s=self._communication(tokens, phases_s),
            host_s=constants.step_s + constants.sequence_s * replica,
            moved_bytes=moved.sum(axis=0),
        )

    def _work(self, tokens: FloatArray, context: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Bytes, FLOP and peak FLOP/s by phase; dense layers are split over a whole replica."""
        part, parts, model = self.shard, self.parts, self.model
        window = model.attention.window
        near = context if window is None else min(context, window)
        spread = parts.context_ways
        moved = np.stack(
            [
                tokens * (part.kv_bytes_full * context + part.kv_bytes_windowed * near),
                part.attention_bytes * np.ones_like(tokens),
                part.dense_bytes / spread * np.ones_like(tokens),
                self._expert_bytes(tokens),
                part.head_bytes / spread * np.ones_like(tokens),
            ]
        )
        pairs = part.flops_per_pair_full * context + part.flops_per_pair_windowed * near
        flops = np.stack(
            [
                tokens * pairs,
                tokens * part.attention_flops,
                tokens * part.dense_flops / spread,
                self._expert_flops(tokens),
                tokens * part.head_flops / spread,
            ]
        )
        weight = self.gpu.peak_flops_per_s(model.weight_dtype)
        cache = self.gpu.peak_flops_per_s(default_kv_dtype(model))
        expert = self.gpu.peak_flops_per_s(model.expert_dtype or model.weight_dtype)
        return moved, flops, np.array([cache, weight, weight, expert, weight])

    def _expert_bytes(self, tokens: FloatArray) -> FloatArray:
        experts = self.model.experts
        if experts is None:
            return np.zeros_like(tokens)
        hit = touched(experts.count, experts.top_k, tokens * self.parts.dp)
        whole = experts.layers * self.shard.expert_bytes * self.constants.expert_rereads
        return np.asarray(hit * whole / self.parts.stage)

    def _expert_flops(self, tokens: FloatArray) -> FloatArray:
        experts = self.model.experts
        if experts is None:
            return np.zeros_like(tokens)
        pairs = tokens * self.parts.dp * experts.top_k / self.parts.stage
        return np.asarray(experts.layers * pairs * self.shard.expert_flops)

    def _communication(self, tokens: FloatArray, phases_s: FloatArray) -> FloatArray:
        overlap, size = self.constants.overlap, tokens * self._token_bytes
        parts, layers = self.parts, self.model.layers
        reduce_s = layers * all_reduce(size, parts.tp, self._wires(parts.tp))
        hops_s = (parts.pp - 1) * point_to_point(size, parts.pp, self._wires(parts.gpus))
        hidden_s, tail_s = self._cache_exchange(tokens)
        total = (
            exposed(hidden_s, phases_s[0], overlap=overlap)
            + tail_s
            + exposed(reduce_s, phases_s[1], overlap=overlap)
            + exposed(self._feed_forward(size), phases_s[2] + phases_s[3], overlap=overlap)
            + hops_s
        )
        return np.asarray(total)

    def _cache_exchange(self, tokens: FloatArray) -> tuple[Real, Real]:
        """Partial attention results over kvp at once, or around cp's ring, whose last hop shows."""
        attention, parts = self.model.attention, self.parts
        width = (
            attention.value_dim if isinstance(attention, LatentAttention) else attention.head_dim
        )
        size = tokens * attention.heads * width / parts.tp * self._token_bytes / self.model.hidden
        wires = self._wires(parts.replica)
        hop = point_to_point(2 * size, parts.cp, wires)  # a query there, a partial result back
        layers = self.model.layers
        together = all_to_all(size, parts.kvp, wires) + np.maximum(parts.cp - 2, 0) * hop
        return layers * together, layers * hop

    def _feed_forward(self, size: FloatArray) -> Real:
        """Reduce over the replica; over replicas, dispatch to experts and back."""
        parts, model = self.parts, self.model
        reduce_s = all_reduce(size, parts.replica, self._wires(parts.replica))
        if model.experts is None:
            return model.layers * reduce_s
        dispatch_s = np.where(parts.dp > 1, self._between_replicas(size, model.experts.top_k), 0.0)
        return model.layers * reduce_s + model.experts.layers * dispatch_s

    def _between_replicas(self, size: FloatArray, top_k: int) -> Real:
        """A token goes to every slice of its k experts, sent by all GPUs that hold it in turn."""
        parts, wires = self.parts, self._wires(self.parts.stage)
        gathered = all_gather(parts.dp * size, parts.dp, wires)
        gathered = gathered + reduce_scatter(parts.dp * size, parts.dp, wires)
        copies = np.minimum(top_k * parts.slices, parts.stage)
        direct = 2 * all_to_all(size * copies / parts.replica, parts.stage, wires)
        if self._dispatch == "best":
            return np.minimum(gathered, direct)
        return gathered if self._dispatch == "gather" else direct

    def _wires(self, span: Real) -> Wires:
        wires = fabrics(self.gpu, span=np.asarray(span))
        constants = self.constants
        return Wires(
            latency_s=wires.latency_s if constants.hop_s is None else constants.hop_s,
            bandwidth_bytes_per_s=wires.bandwidth_bytes_per_s * constants.network_efficiency,
        )
