"""The bytes and operations of each phase of a step on one GPU."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.arrays import FloatArray, Real
from perfmodel.constants import Constants
from perfmodel.experts import Routing, busiest_share, touched
from perfmodel.load import StepLoad
from perfmodel.shard import context_ways, default_kv_dtype, shard
from strategies.layout import Layout

PhaseName = Literal["attention", "projections", "dense", "experts", "head"]


@dataclass(frozen=True, slots=True)
class PhaseCost:
    """One phase's work and the two times it would take alone; it takes the longer."""

    name: PhaseName
    moved_bytes: Real
    flops: Real
    memory_s: Real
    compute_s: Real

    @property
    def seconds(self) -> Real:
        return np.maximum(self.memory_s, self.compute_s)


class Phases:
    """Prices the phases of one model in one layout on one kind of GPU; read-once throughout."""

    def __init__(
        self,
        model: Model,
        layout: Layout,
        gpu: Gpu,
        *,
        constants: Constants,
        routing: Routing,
        kv_dtype: str | None,
    ) -> None:
        self._shard = shard(
            model, tp=layout.tp, context_ways=context_ways(layout), kv_dtype=kv_dtype
        )
        self._experts = model.experts
        self._routing = routing
        self._ranks = layout.tp * layout.dp
        self._bandwidth = gpu.bandwidth_bytes_per_s * constants.memory_efficiency
        dtypes = {"weight": model.weight_dtype, "cache": default_kv_dtype(model)}
        dtypes["expert"] = model.expert_dtype or model.weight_dtype
        self._peak = {
            part: gpu.peak_flops_per_s(dtype) * constants.compute_efficiency
            for part, dtype in dtypes.items()
        }
        self._rereads = constants.expert_rereads
        self._busiest = 1.0
        if model.experts and layout.ep:
            self._busiest = busiest_share(
                model.experts.count, model.experts.top_k, layout.ep_degree, routing=routing
            )

    def attention(self, load: StepLoad, ahead: FloatArray, *, ways: int = 1) -> PhaseCost:
        """Cache reads and scores; `ahead` counts steps after `load`, each context one longer."""
        part = self._shard
        growth = load.decode_sequences * ahead
        moved = part.kv_bytes_full * (load.kv_tokens + growth) / ways
        flops = part.flops_per_pair_full * (load.pairs + growth) / ways
        if part.kv_bytes_windowed:
            near = load.windowed_growth * ahead
            moved = moved + part.kv_bytes_windowed * (load.windowed_kv_tokens + near) / ways
            flops = flops + part.flops_per_pair_windowed * (load.windowed_pairs + near) / ways
        return self._cost("attention", moved, flops, self._peak["cache"])

    def local(self, tokens: float, *, sampled: float, ways: int = 1) -> tuple[PhaseCost, ...]:
        """What a replica computes of its own tokens: projections, dense parts, logits."""
        part, peak = self._shard, self._peak["weight"]
        tokens = max(tokens / ways, 1.0)
        phases = [
            self._cost("projections", part.attention_bytes, part.attention_flops * tokens, peak)
        ]
        if part.dense_bytes:
            phases.append(self._cost("dense", part.dense_bytes, part.dense_flops * tokens, peak))
        if sampled:
            phases.append(
                self._cost("head", part.head_bytes, part.head_flops * sampled / ways, peak)
            )
        return tuple(phases)

    def experts(self, tokens: float) -> PhaseCost | None:
        """Routed experts on the busiest rank; `tokens` are those of all replicas together."""
        experts = self._experts
        if experts is None:
            return None
        hit = touched(experts.count, experts.top_k, tokens, routing=self._routing)
        read = min(float(hit) * self._busiest, experts.count) / self._ranks
        pairs = tokens * experts.top_k * self._busiest / self._ranks
        return self._cost(
            "experts",
            experts.layers * read * self._shard.expert_bytes * self._rereads,
            experts.layers * pairs * self._shard.expert_flops,
            self._peak["expert"],
        )

    def _cost(self, name: PhaseName, moved: Real, flops: Real, peak: float) -> PhaseCost:
        return PhaseCost(name, moved, flops, moved / self._bandwidth, flops / peak)
