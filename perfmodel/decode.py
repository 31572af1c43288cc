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
from catalog.layers import Experts
from catalog.models import LatentAttention, Model
from catalog.units import DTYPE_BYTES
from perfmodel.arrays import FloatArray, Real
from perfmodel.collectives import (
    Wires,
    all_gather,
    all_reduce,
    all_to_all,
    direct_all_to_all,
    exposed,
    fabrics,
    gather_by_nodes,
    node_then_network_all_reduce,
    point_to_point,
    reduce_scatter,
)
from perfmodel.constants import DEFAULT, Constants
from perfmodel.engine_defaults import schedules_ahead
from perfmodel.exchange import dispatched_bytes
from perfmodel.experts import fullest, touched
from perfmodel.launches import host_shown, launches_per_step
from perfmodel.partition import Partitions
from perfmodel.phases import phase_seconds
from perfmodel.shard import (
    INDEX_DTYPE,
    computing_dtype,
    head_dtype,
    picked_heads,
    shard,
    weight_dtypes,
)
from strategies.layout import Layout

PHASES = ("attention", "projections", "feed-forward", "experts", "head")


@dataclass(frozen=True, slots=True)
class DecodeCost:
    """Seconds of one step over all layers, shape (n,) each; `phases` shape (phases, n)."""

    memory_s: FloatArray
    compute_s: FloatArray
    communication_s: FloatArray
    """Exposed."""
    host_s: FloatArray
    """What of it shows."""
    moved_bytes: FloatArray
    """Bytes the busiest GPU reads in the step."""
    launch_s: FloatArray | float = 0.0
    """Kernels' own time, where they run one after another."""
    serial: bool = False

    @property
    def phases_s(self) -> FloatArray:
        return np.asarray(phase_seconds(self.memory_s, self.compute_s, serial=self.serial))

    @property
    def total_s(self) -> FloatArray:
        total: FloatArray = self.phases_s.sum(axis=0) + self.communication_s + self.host_s
        return total + self.launch_s


class Pricing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a partition search assumes of the machine and the server."""

    constants: Constants = DEFAULT
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
        self.shard = shard(
            model,
            tp=parts.tp,
            context_ways=parts.context_ways,
            least_heads=picked_heads(gpu),
        )
        self._token_bytes = model.hidden * DTYPE_BYTES[computing_dtype(model)]
        self._layers_bytes = model.layers * self._token_bytes

    def cost(self, batch: FloatArray, context: int) -> DecodeCost:
        """Price a step of `batch` sequences over all replicas, shape (n,), at one context."""
        replica = np.ceil(batch / self.parts.dp)
        ways = np.clip(replica, 1, self.parts.pp)
        tokens = np.maximum(replica / ways, 1.0)
        moved, flops, peaks = self._work(tokens, context)
        constants, gpu = self.constants, self.gpu
        memory_s = moved / (gpu.bandwidth_bytes_per_s * constants.memory_efficiency)
        memory_s[PHASES.index("experts")] += self._slices_s(tokens)
        reached = np.array([constants.efficiency_of(phase) for phase in PHASES])
        compute_s = flops / (peaks * reached)[:, None]
        phases_s = np.asarray(phase_seconds(memory_s, compute_s, serial=constants.serial))
        exposed_s, launch_s = self._communication(tokens, phases_s), self._launch_s()
        busy_s = phases_s.sum(axis=0) + exposed_s + launch_s
        ahead = (self.parts.pp == 1) & constants.serial & schedules_ahead(gpu, Layout())
        return DecodeCost(
            memory_s=memory_s,
            compute_s=compute_s,
            communication_s=exposed_s,
            host_s=host_shown(constants, busy_s, constants.sequence_s * replica, ahead=ahead),
            moved_bytes=moved.sum(axis=0),
            launch_s=launch_s,
            serial=constants.serial,
        )

    def _launch_s(self) -> FloatArray | float:
        """Launches of a step, where they add to it; those of a layout with the same axes split."""
        if not self.constants.serial:
            return 0.0
        split = np.stack([self.parts.tp > 1, self.parts.dp > 1], axis=-1)
        kinds, where = np.unique(split, axis=0, return_inverse=True)
        counts = [
            launches_per_step(self.model, Layout(tp=1 + int(tp), dp=1 + int(dp)), self.constants)
            for tp, dp in kinds
        ]
        return np.array(counts)[np.ravel(where)] * self.constants.kernel_s

    def _slices_s(self, tokens: FloatArray) -> FloatArray:
        """What the touched experts of a rank cost beside their bytes."""
        experts = self.model.experts
        if experts is None or not self.constants.slice_s:
            return np.zeros_like(tokens)
        hit, _ = self._fullest(experts, tokens)
        return np.asarray(experts.layers * hit / self.parts.ep * self.constants.slice_s)

    def _fullest(self, experts: Experts, tokens: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Touched experts and token-expert pairs of the fullest group, times the groups."""
        tokens = tokens * self.parts.dp
        hit = touched(experts.count, experts.top_k, tokens)
        pairs = tokens * experts.top_k
        if not self.constants.independent_routing:
            return np.asarray(hit), pairs
        cv = self.constants.popularity_cv
        return fullest(hit, pairs, self.parts.ep, experts=experts.count, popularity_cv=cv)

    def _work(self, tokens: FloatArray, context: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Bytes, FLOP and peak FLOP/s by phase; dense layers are split over a whole replica."""
        part, parts, model = self.shard, self.parts, self.model
        near = context if model.reach is None else min(context, model.reach)
        spread = parts.context_ways
        cache = (part.read_bytes_full + part.logit_bytes_per_pair) * context
        cache = cache + part.read_bytes_near * near
        moved = np.stack(
            [
                tokens * (cache + 2 * part.state_bytes),  # a state is read and written
                part.attention_bytes + self.constants.token_passes * tokens * self._layers_bytes,
                part.dense_bytes / spread * np.ones_like(tokens),
                self._expert_bytes(tokens),
                part.head_bytes / spread * np.ones_like(tokens),
            ]
        )
        pairs = part.flops_per_pair_full * context + part.flops_per_pair_windowed * near
        dtype = computing_dtype(model)
        index = self.gpu.peak_flops_per_s(dtype) / self.gpu.peak_flops_per_s(INDEX_DTYPE)
        pairs = pairs + part.flops_per_index_pair * index * context  # in the cache's own FLOP
        flops = np.stack(
            [
                tokens * pairs,
                tokens * part.attention_flops,
                tokens * part.dense_flops / spread,
                self._expert_flops(tokens),
                tokens * part.head_flops / spread,
            ]
        )
        weight, expert = (self.gpu.peak_flops_per_s(each) for each in weight_dtypes(model))
        cache = self.gpu.peak_flops_per_s(dtype)
        head = self.gpu.peak_flops_per_s(head_dtype(model))
        return moved, flops, np.array([cache, weight, weight, expert, head])

    def _expert_bytes(self, tokens: FloatArray) -> FloatArray:
        experts = self.model.experts
        if experts is None:
            return np.zeros_like(tokens)
        hit, _ = self._fullest(experts, tokens)
        whole = experts.layers * self.shard.expert_bytes * self.constants.expert_rereads
        return np.asarray(hit * whole / self.parts.stage)

    def _expert_flops(self, tokens: FloatArray) -> FloatArray:
        experts = self.model.experts
        if experts is None:
            return np.zeros_like(tokens)
        _, pairs = self._fullest(experts, tokens)
        return np.asarray(experts.layers * pairs / self.parts.stage * self.shard.expert_flops)

    def _communication(self, tokens: FloatArray, phases_s: FloatArray) -> FloatArray:
        overlap, size = self.constants.overlap, tokens * self._token_bytes
        parts, layers = self.parts, self.model.layers
        reduce_s = layers * self._reduce(size, parts.tp)
        hops_s = (parts.pp - 1) * point_to_point(size, parts.pp, self._wires(parts.gpus))
        hidden_s, tail_s = self._cache_exchange(tokens)
        fed_s = exposed(self._feed_forward(tokens), phases_s[2] + phases_s[3], overlap=overlap)
        hidden_s = exposed(hidden_s, phases_s[0], overlap=overlap)
        reduce_s = exposed(reduce_s, phases_s[1], overlap=overlap)
        return np.asarray(hidden_s + tail_s + reduce_s + fed_s + hops_s)

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

    def _feed_forward(self, tokens: FloatArray) -> Real:
        """Reduce over the replica; over replicas, dispatch to experts and back."""
        parts, model = self.parts, self.model
        reduce_s = self._reduce(tokens * self._token_bytes, parts.replica)
        if model.experts is None:
            return model.layers * reduce_s
        dispatch_s = self._between_replicas(tokens, model.experts.top_k)
        dispatch_s = np.where(parts.dp > 1, dispatch_s, 0.0)
        return model.layers * reduce_s + model.experts.layers * dispatch_s

    def _between_replicas(self, tokens: FloatArray, top_k: int) -> Real:
        """A token goes to every slice of its k experts, sent by all GPUs that hold it in turn."""
        parts, gathers, size = self.parts, self._gathers, tokens * self._token_bytes
        if self._dispatch == "gather":
            return gathers(size)
        copies = tokens * np.minimum(top_k * parts.slices, parts.stage) / parts.replica
        direct = self._sends(copies)
        return direct if self._dispatch == "all-to-all" else np.minimum(gathers(size), direct)

    def _gathers(self, size: FloatArray) -> Real:
        """Every replica's tokens to all, and the results back."""
        parts = self.parts
        if self.constants.direct_s is None:
            wires = self._wires(parts.stage)
            gathered = all_gather(parts.dp * size, parts.dp, wires)
            return gathered + reduce_scatter(parts.dp * size, parts.dp, wires)
        links, within = self._by_nodes(parts.stage)
        near = np.minimum(parts.dp, np.maximum(within // parts.replica, 1))
        return 2 * gather_by_nodes(parts.dp * size, parts.dp, links, within=near)

    def _sends(self, copies: FloatArray) -> Real:
        """Each copy of a token straight to where it is computed, and its result back."""
        stage, start_s = self.parts.stage, self.constants.direct_s
        if start_s is None:
            return 2 * all_to_all(copies * self._token_bytes, stage, self._wires(stage))
        links, within = self._by_nodes(stage)
        sent = self.model.hidden * dispatched_bytes(self.model)
        there, back = (
            direct_all_to_all(copies * each, stage, links, within=within, start_s=start_s)
            for each in (sent, self._token_bytes)
        )
        return there + back

    def _by_nodes(self, ranks: FloatArray) -> tuple[tuple[Wires, Wires], FloatArray]:
        """The links inside a node and beyond it, and how many of `ranks` a node holds."""
        within = np.minimum(ranks, self.gpu.island or self.gpu.per_node)
        return (self._wires(within), self._wires(ranks)), within

    def _reduce(self, size: FloatArray, ranks: Real) -> Real:
        """Over the ranks of a node as serving engines do it, where it has a price, then between."""
        flat_s = self.constants.reduce_s
        if flat_s is None:
            return all_reduce(size, ranks, self._wires(ranks))
        links, within = self._by_nodes(np.asarray(ranks))
        return node_then_network_all_reduce(size, ranks, links, within=within, flat_s=flat_s)

    def _wires(self, span: Real) -> Wires:
        wires = fabrics(self.gpu, span=np.asarray(span))
        constants, reached = self.constants, self.constants.network_efficiency
        inside = np.asarray(span) <= (self.gpu.island or self.gpu.per_node)
        between = constants.between_efficiency or reached
        return Wires(
            latency_s=wires.latency_s if constants.hop_s is None else constants.hop_s,
            bandwidth_bytes_per_s=wires.bandwidth_bytes_per_s * np.where(inside, reached, between),
        )
