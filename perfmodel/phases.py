"""The bytes and operations of each phase of a step on one GPU."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from catalog.hardware import Gpu
from catalog.models import Model
from catalog.units import DTYPE_BYTES
from perfmodel.arrays import FloatArray, Real
from perfmodel.constants import Constants
from perfmodel.experts import (
    RoutingSkew,
    busiest_share,
    choice_chances,
    fullest,
    touched,
    touched_of,
)
from perfmodel.kernel_tables.kernels import Kernels, KernelTime
from perfmodel.load import StepLoad
from perfmodel.shard import (
    INDEX_DTYPE,
    computing_dtype,
    context_ways,
    head_dtype,
    picked_heads,
    shard,
    weight_dtypes,
)
from strategies.layout import Layout

PhaseName = Literal["attention", "projections", "dense", "tokens", "experts", "head"]
PRODUCTS = ("projections", "dense", "head")
"""Phases that are matrix products of a replica's own tokens."""


def phase_seconds(memory_s: Real, compute_s: Real, *, serial: bool) -> Real:
    """Reading and computing one after another, or at once, where the longer counts."""
    return memory_s + compute_s if serial else np.maximum(memory_s, compute_s)


@dataclass(frozen=True, slots=True)
class PhaseCost:
    """One phase's work and the two times it would take alone."""

    name: PhaseName
    moved_bytes: Real
    flops: Real
    memory_s: Real
    compute_s: Real
    serial: bool = False
    """Both one after another; else it takes the longer."""
    kernel_s: Real = math.nan
    """What measured kernels take, launches included; nan where a formula says it."""
    launches: float = 0.0
    """Of a step's launches, those within."""

    @property
    def seconds(self) -> Real:
        return phase_seconds(self.memory_s, self.compute_s, serial=self.serial)

    @property
    def by_bound(self) -> tuple[Real, Real]:
        """Seconds bound by memory and by compute; together the phase's own."""
        if self.serial:
            return self.memory_s, self.compute_s
        reads = np.greater_equal(self.memory_s, self.compute_s)
        return np.where(reads, self.memory_s, 0.0), np.where(reads, 0.0, self.compute_s)


class Phases:
    """Prices the phases of one model in one layout on one kind of GPU; read-once throughout."""

    def __init__(
        self,
        model: Model,
        layout: Layout,
        gpu: Gpu,
        *,
        constants: Constants,
        routing: RoutingSkew,
        kv_dtype: str | None,
    ) -> None:
        self._kernels: Kernels | None = None
        self._shard = shard(
            model,
            tp=layout.tp,
            context_ways=context_ways(layout),
            kv_dtype=kv_dtype,
            least_heads=picked_heads(gpu),
        )
        # A context group lies within tp: a rank scores the queries of all its ranks.
        self._gathered = context_ways(layout)
        self._experts = model.experts
        self._ranks = layout.tp * layout.dp
        self._bandwidth = gpu.bandwidth_bytes_per_s * constants.memory_efficiency
        weights, experts = weight_dtypes(model)
        dtypes = {"weight": weights, "expert": experts, "head": head_dtype(model)}
        dtypes |= {"cache": computing_dtype(model), "index": INDEX_DTYPE}
        phase_of = {"expert": "experts", "cache": "attention", "index": "attention"}
        self._peak = {
            part: gpu.peak_flops_per_s(dtype) * constants.efficiency_of(phase_of.get(part, part))
            for part, dtype in dtypes.items()
        }
        self._constants = constants
        self._token_bytes = model.layers * model.hidden * DTYPE_BYTES[dtypes["cache"]]
        self._ep = layout.ep_degree
        self._busiest = 1.0
        self._popularity_cv = constants.popularity_cv if routing.uniform else 0.0
        self._chances = _uneven(model, routing)
        if model.experts and layout.ep:
            self._busiest = busiest_share(
                model.experts.count, model.experts.top_k, layout.ep_degree, routing=routing
            )

    def use(self, kernels: Kernels) -> None:
        """Price what these kernels measured by them."""
        self._kernels = kernels

    def attention(self, load: StepLoad, ahead: FloatArray, *, ways: int = 1) -> PhaseCost:
        """Cache reads and scores; `ahead` counts steps after `load`, each context one longer."""
        part = self._shard
        growth = load.decode_sequences * ahead
        moved = part.read_bytes_full * (load.kv_tokens + growth) / ways
        moved = moved + 2 * part.state_bytes * load.sequences / ways  # read and written
        flops = part.flops_per_pair_full * (load.pairs + growth) / ways
        flops = flops - part.saved_per_prompt_pair_full * load.prompt_pairs / ways
        flops = flops + part.flops_per_context_token * load.prefill_context / ways
        if part.read_bytes_near:
            near = load.windowed_growth * ahead
            moved = moved + part.read_bytes_near * (load.windowed_kv_tokens + near) / ways
            flops = flops + part.flops_per_pair_windowed * (load.windowed_pairs + near) / ways
            saved = part.saved_per_prompt_pair_windowed * load.windowed_prompt_pairs
            flops = flops - saved / ways
        cost = self._cost("attention", moved, flops * self._gathered, self._peak["cache"])
        cost = self._with_indexers(cost, (load.pairs + growth) / ways)
        if self._kernels is None:
            return cost
        measured = self._kernels.attention_time(load, ahead, ways=ways)
        if self._kernels.attention is not None and self._kernels.attention.projects:
            # They are a phase of their own here: what is left is attention's.
            beside_s = self._projections(max(load.tokens / ways, 1.0)).seconds
            measured = replace(measured, seconds=np.maximum(measured.seconds - beside_s, 0.0))
        return self._by_kernels(cost, measured)

    def _with_indexers(self, cost: PhaseCost, pairs: Real) -> PhaseCost:
        """Every key scored by small heads, and the scores read once more to pick the largest."""
        part = self._shard
        if not part.flops_per_index_pair:
            return cost
        own = self._cost(
            "attention",
            part.logit_bytes_per_pair * pairs,
            part.flops_per_index_pair * pairs,
            self._peak["index"],
        )
        return replace(
            cost,
            moved_bytes=cost.moved_bytes + own.moved_bytes,
            flops=cost.flops + own.flops,
            memory_s=cost.memory_s + own.memory_s,
            compute_s=cost.compute_s + own.compute_s,
        )

    def _projections(self, tokens: float) -> PhaseCost:
        part = self._shard
        flops = part.attention_flops * tokens
        return self._cost("projections", part.attention_bytes, flops, self._peak["weight"])

    def local(self, tokens: float, *, sampled: float, ways: int = 1) -> tuple[PhaseCost, ...]:
        """What a replica computes of its own tokens: projections, dense parts, logits."""
        part, peak = self._shard, self._peak["weight"]
        tokens = max(tokens / ways, 1.0)
        phases = [self._projections(tokens)]
        if part.dense_bytes:
            phases.append(self._cost("dense", part.dense_bytes, part.dense_flops * tokens, peak))
        if passes := self._constants.token_passes:
            phases.append(self._cost("tokens", passes * self._token_bytes * tokens, 0.0, peak))
        if sampled:
            phases.append(
                self._cost(
                    "head", part.head_bytes, part.head_flops * sampled / ways, self._peak["head"]
                )
            )
        if (kernels := self._kernels) is None:
            return tuple(phases)
        rows = {"head": sampled / ways}
        return tuple(
            self._by_kernels(cost, kernels.products_time(cost.name, rows.get(cost.name, tokens)))
            if cost.name in PRODUCTS
            else cost
            for cost in phases
        )

    def experts(self, tokens: float) -> PhaseCost | None:
        """Routed experts on the busiest rank; `tokens` are those of all replicas together."""
        experts = self._experts
        if experts is None:
            return None
        hit = float(
            touched(experts.count, experts.top_k, tokens)
            if self._chances is None
            else touched_of(self._chances, tokens)
        )
        pairs = tokens * experts.top_k
        if self._constants.independent_routing and self._ep > 1:
            both = fullest(
                hit, pairs, self._ep, experts=experts.count, popularity_cv=self._popularity_cv
            )
            hit, pairs = map(float, both)
        read = min(hit * self._busiest, experts.count)
        slices = experts.layers * read / self._ep
        cost = self._cost(
            "experts",
            slices
            * self._shard.expert_bytes
            * self._constants.expert_rereads
            * self._ep
            / self._ranks,
            experts.layers * pairs * self._busiest / self._ranks * self._shard.expert_flops,
            self._peak["expert"],
        )
        cost = replace(cost, memory_s=cost.memory_s + slices * self._constants.slice_s)
        if self._kernels is None:
            return cost
        return self._by_kernels(cost, self._kernels.experts_time(tokens))

    def _by_kernels(self, cost: PhaseCost, measured: KernelTime) -> PhaseCost:
        """What was measured in the formula's place, its bounds in the formula's proportion.

        Of what was measured the launches are taken off where a step counts each on top.
        """
        formula_s = np.asarray(cost.seconds, dtype=np.float64)
        counted_s = measured.launches * self._constants.kernel_s if self._constants.serial else 0.0
        known = np.isfinite(measured.seconds) & (formula_s > 0)
        own_s = np.maximum(measured.seconds - counted_s, 0.0)
        factor = np.divide(own_s, formula_s, out=np.ones_like(formula_s), where=known)
        return replace(
            cost,
            memory_s=cost.memory_s * factor,
            compute_s=cost.compute_s * factor,
            kernel_s=np.where(known, measured.seconds, np.nan),
            launches=measured.launches,
        )

    def _cost(self, name: PhaseName, moved: Real, flops: Real, peak: float) -> PhaseCost:
        read_s, computed_s = moved / self._bandwidth, flops / peak
        return PhaseCost(name, moved, flops, read_s, computed_s, self._constants.serial)


def _uneven(model: Model, routing: RoutingSkew) -> FloatArray | None:
    """The chance of each expert, where they are not all alike."""
    if model.experts is None or routing.uniform:
        return None
    return choice_chances(model.experts.count, model.experts.top_k, routing)
