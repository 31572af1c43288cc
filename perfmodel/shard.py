"""What one GPU of a layout holds and reads of a model's weights and cache."""

from dataclasses import dataclass

import numpy as np

from catalog.models import LatentAttention, Model
from catalog.units import DTYPE_BYTES
from perfmodel.arrays import Real
from strategies.layout import Layout


@dataclass(frozen=True, slots=True)
class Shard:
    """Sizes for one tensor-parallel rank of one replica, all pipeline stages together.

    Fields are arrays where the degrees are. Even splits throughout; the norms and DeepSeek's
    down-projections, which vLLM replicates over tp, are counted as split (under 0.2 % of it).
    """

    attention_bytes: Real
    dense_bytes: Real
    """Dense feed-forward layers, shared experts and routers."""
    head_bytes: Real
    embedding_bytes: Real
    """The input table, where it is not the head's; decoding reads next to none of it."""
    expert_bytes: float
    """One whole expert of one layer."""
    kv_bytes_full: Real
    """Cache of one token in all layers that see the whole context."""
    kv_bytes_windowed: Real
    flops_per_pair_full: Real
    """Scores and weighted values of one query-key pair, this rank's heads, all such layers."""
    flops_per_pair_windowed: Real
    attention_flops: Real
    """Projections of one token."""
    dense_flops: Real
    head_flops: Real
    expert_flops: float
    """One token through one expert, whole."""


def shard(
    model: Model, *, tp: Real, context_ways: Real = 1.0, kv_dtype: str | None = None
) -> Shard:
    """Split a model's weights and cache as vLLM does: everything but routed experts over tp.

    `context_ways` GPUs share a sequence's cache by position.
    """
    weight = DTYPE_BYTES[model.weight_dtype]
    dense_params = model.dense_ffn_params + model.shared_expert_params
    head_params = model.vocab * model.hidden
    embeddings = 0 if model.tied_embeddings else model.embedding_params - head_params
    one_expert = model.experts.params_per_expert(model.hidden) if model.experts else 0
    windowed = model.attention.windowed_layers
    kv = kv_bytes_per_layer(model, tp=tp, kv_dtype=kv_dtype) / context_ways
    pair = _flops_per_pair(model) / tp / context_ways
    attention_params = model.attention_params + model.extra_params
    return Shard(
        attention_bytes=attention_params * weight / tp,
        dense_bytes=dense_params * weight / tp,
        head_bytes=head_params * weight / tp,
        embedding_bytes=embeddings * weight / tp,
        expert_bytes=one_expert * DTYPE_BYTES[model.expert_dtype or model.weight_dtype],
        kv_bytes_full=(model.layers - windowed) * kv,
        kv_bytes_windowed=windowed * kv,
        flops_per_pair_full=(model.layers - windowed) * pair,
        flops_per_pair_windowed=windowed * pair,
        attention_flops=2.0 * attention_params / tp,
        dense_flops=2.0 * dense_params / tp,
        head_flops=2.0 * head_params / tp,
        expert_flops=2.0 * one_expert,
    )


def default_kv_dtype(model: Model) -> str:
    """What vLLM's `--kv-cache-dtype auto` keeps: the computing type, not the weights'."""
    return "float32" if model.weight_dtype == "float32" else "bfloat16"


def context_ways(layout: Layout) -> int:
    """GPUs one sequence's cache is spread over by position: decode context parallelism."""
    return int(dict(layout.knobs).get("dcp", "1"))


def kv_bytes_per_layer(model: Model, *, tp: Real = 1, kv_dtype: str | None = None) -> Real:
    """Cache bytes of one token in one layer on one GPU: split over KV heads, never below one.

    Elements by layout: MHA 2 H d_h, GQA 2 H_kv d_h, MQA 2 d_h, MLA r_kv + d_rope (one head, which
    tensor parallelism cannot split).
    """
    element = DTYPE_BYTES[kv_dtype or default_kv_dtype(model)]
    ways = np.minimum(tp, model.attention.kv_heads)
    return model.attention.kv_elements * element / ways


def _flops_per_pair(model: Model) -> float:
    """One query-key pair of one layer: two products of the head's width, twice for multiply-add.

    Latent attention in its absorbed form scores against the latent itself (DeepSeek-V2, 2.1.2).
    """
    attention = model.attention
    if isinstance(attention, LatentAttention):
        return 2.0 * attention.heads * (2 * attention.kv_rank + attention.rope_dim)
    return 4.0 * attention.heads * attention.head_dim
