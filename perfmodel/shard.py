"""What one GPU of a layout holds and reads of a model's weights and cache."""

from dataclasses import dataclass

import numpy as np

from catalog.attention import Mixer
from catalog.hardware import Gpu
from catalog.models import FLOATS, GroupedQueryAttention, Indexer, LatentAttention, Model
from catalog.units import DTYPE_BYTES
from perfmodel.arrays import Real
from strategies.layout import Layout

INDEX_DTYPE = "fp8"
"""Queries and keys of DeepSeek-V3.2's indexer, on GPUs with such units."""
LOGIT_BYTES = 4
"""vLLM keeps an indexer's scores as float32."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Sizes for one tensor-parallel rank of one replica, all pipeline stages together.

    Fields are arrays where the degrees are. Even splits, but what latent attention keeps on every
    rank: down-projections and indexers. Norms and routers, replicated too, are counted as split.
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
    """Held of one token in all layers whose cache grows with the context, index keys included."""
    kv_bytes_windowed: Real
    state_bytes: Real
    """Held of one sequence in all layers that keep a state of fixed size."""
    read_bytes_full: Real
    """Of a token's cache, what a query reads however far back the token is."""
    read_bytes_near: Real
    """What it reads only within its reach: windowed layers, and those that pick their tokens."""
    flops_per_pair_full: Real
    """Scores and weighted values of one query-key pair, this rank's heads, all such layers."""
    flops_per_pair_windowed: Real
    """The same in layers that read only what is within reach."""
    flops_per_index_pair: Real
    """Scores of the indexers of latent attention: every tensor-parallel rank has all their heads.
    """
    logit_bytes_per_pair: Real
    """Their scores, written and read once more to pick the largest (float32)."""
    saved_per_prompt_pair_full: Real
    """Less in a prompt, where latent attention scores full heads instead of latents."""
    saved_per_prompt_pair_windowed: Real
    flops_per_context_token: Real
    """Widening a latent that an earlier chunk of the prompt has left in the cache."""
    attention_flops: Real
    """Projections of one token."""
    dense_flops: Real
    head_flops: Real
    expert_flops: float
    """One token through one expert, whole."""


def shard(
    model: Model,
    *,
    tp: Real,
    context_ways: Real = 1.0,
    kv_dtype: str | None = None,
    least_heads: int = 1,
) -> Shard:
    """Split a model's weights and cache as vLLM does: everything but routed experts over tp.

    `context_ways` GPUs share a sequence's cache by position. Where an indexer picks the latents,
    a rank scores `least_heads` heads at least (`picked_heads`).
    """
    held, cache = model.held, _cache(model, tp=tp, ways=context_ways, kv_dtype=kv_dtype)
    dense_params = model.dense_ffn_params + model.shared_expert_params
    head_params = model.vocab * model.hidden
    one_expert = model.experts.params_per_expert(model.hidden) if model.experts else 0
    whole = model.experts.layers * model.experts.count if model.experts else 1
    split = tp * context_ways
    attention_params = model.attention_params + model.extra_params
    copied = sum(count * mixer.replicated(model.hidden) for count, mixer in model.mixers)
    widening = sum(count * mixer.widening for count, mixer in model.mixers)
    own_part = 1.0 / tp + (1.0 - 1.0 / tp) * (copied / attention_params)
    return Shard(
        attention_bytes=held.attention * own_part,
        dense_bytes=held.dense / tp,
        head_bytes=held.head / tp,
        embedding_bytes=held.embedding / tp,
        expert_bytes=held.experts / whole,
        **cache,
        flops_per_pair_full=_flops_per_pair(model, near=False) / split,
        flops_per_pair_windowed=_flops_per_pair(
            model, near=True, ranks=tp / context_ways, least=least_heads
        )
        / split,
        flops_per_index_pair=2.0 * _index_width(model) / context_ways,
        logit_bytes_per_pair=2.0 * LOGIT_BYTES * _indexed_layers(model) / context_ways,
        saved_per_prompt_pair_full=_saved_per_prompt_pair(model, near=False) / split,
        saved_per_prompt_pair_windowed=_saved_per_prompt_pair(model, near=True) / split,
        flops_per_context_token=2.0 * widening / split,
        # An element of state is multiplied and added to twice: once kept, once read.
        attention_flops=2.0 * attention_params * own_part + 4.0 * model.state_elements / tp,
        dense_flops=2.0 * dense_params / tp,
        head_flops=2.0 * head_params / tp,
        expert_flops=2.0 * one_expert,
    )


def computing_dtype(model: Model) -> str:
    """What activations, states and scores are in, whatever the weights are stored in."""
    return "float32" if model.weight_dtype == "float32" else "bfloat16"


def default_kv_dtype(model: Model) -> str:
    """What vLLM's `--kv-cache-dtype auto` keeps: what the checkpoint asks, or else computes in."""
    return model.kv_dtype or computing_dtype(model)


def weight_dtypes(model: Model) -> tuple[str, str]:
    """Return the types of projections and of experts as arithmetic sees them.

    8-bit integers are widened to 16 bits unless activations are 8-bit integers too.
    """
    both = (model.weight_dtype, model.expert_dtype or model.weight_dtype)
    wide = "int8" if model.integer_activations else "bfloat16"
    weights, experts = (wide if each == "int8" else each for each in both)
    return weights, experts


def head_dtype(model: Model) -> str:
    """What logits are computed in: quantised projections leave the head in 16 bits."""
    return model.weight_dtype if model.weight_dtype in FLOATS else "bfloat16"


def context_ways(layout: Layout) -> int:
    """GPUs one sequence's cache is spread over by position: decode context parallelism."""
    return int(dict(layout.knobs).get("dcp", "1"))


def _cache(model: Model, *, tp: Real, ways: Real, kv_dtype: str | None) -> dict[str, Real]:
    """Sum one rank's cache over all layers: split over KV heads, never below one.

    Elements by layout: MHA 2 H d_h, GQA 2 H_kv d_h, MQA 2 d_h, MLA r_kv + d_rope (one head, which
    tensor parallelism cannot split). An index key is every rank's.
    """
    element = DTYPE_BYTES[kv_dtype or default_kv_dtype(model)]
    state = DTYPE_BYTES[computing_dtype(model)]
    zero = np.zeros(np.broadcast_shapes(np.shape(tp), np.shape(ways))) if np.ndim(tp) else 0.0
    found: dict[str, Real] = dict.fromkeys(_CACHE_FIELDS, zero)
    for count, mixer in model.mixers:
        kept = count * mixer.kv_elements * element / np.minimum(tp, mixer.ways) / ways
        index = count * mixer.index_bytes / ways
        held = "kv_bytes_full" if mixer.window is None else "kv_bytes_windowed"
        read = "read_bytes_full" if mixer.reach is None else "read_bytes_near"
        found[held] = found[held] + kept
        found[read] = found[read] + kept
        found["kv_bytes_full"] = found["kv_bytes_full"] + index
        found["read_bytes_full"] = found["read_bytes_full"] + index
        split = count * mixer.state_elements * state / np.minimum(tp, mixer.ways)
        found["state_bytes"] = found["state_bytes"] + split
    return found


_CACHE_FIELDS = (
    "kv_bytes_full", "kv_bytes_windowed", "state_bytes", "read_bytes_full", "read_bytes_near",
)  # fmt: skip


def picked_heads(gpu: Gpu) -> int:
    """Least heads a rank's kernel scores of latents that an indexer picked; the others are padding.

    FlashMLA's sparse kernels take 64 or 128 query heads, and vLLM pads to them on Hopper
    (`flashmla_sparse.py`). On Blackwell it has a kernel that takes a few (its pull request 33451).
    """
    return 1 if "fp4" in gpu.flops_per_s else 64


def _flops_per_pair(model: Model, *, near: bool, ranks: Real = 1.0, least: int = 1) -> Real:
    """One query-key pair in all layers that read so, before the split: two FLOP a multiply-add.

    Indexers of blocks included, and what pads the heads of each of `ranks` to `least`.
    """
    total: Real = 0.0
    for count, mixer in model.mixers:
        if (mixer.reach is not None) == near:
            padding = np.maximum(least * ranks / mixer.heads, 1.0) if _picks(mixer) else 1.0
            total = total + 2.0 * count * mixer.score_width * padding
        if not near and isinstance(mixer, GroupedQueryAttention) and mixer.index is not None:
            total = total + 2.0 * count * mixer.index.heads * mixer.index.head_dim
    return total


def _picks(mixer: Mixer) -> bool:
    return isinstance(mixer, LatentAttention) and mixer.top_k is not None


def _indexers(model: Model) -> list[tuple[int, Indexer]]:
    """Of latent attention, by how many layers have them."""
    return [
        (count, mixer.index)
        for count, mixer in model.mixers
        if isinstance(mixer, LatentAttention) and mixer.index is not None
    ]


def _index_width(model: Model) -> int:
    return sum(count * index.heads * index.head_dim for count, index in _indexers(model))


def _indexed_layers(model: Model) -> int:
    return sum(count for count, _ in _indexers(model))


def _saved_per_prompt_pair(model: Model, *, near: bool) -> float:
    """FLOP less than `_flops_per_pair` says of a pair that a prompt's chunk scores."""
    return sum(
        2.0 * count * (mixer.score_width - mixer.prompt_score_width)
        for count, mixer in model.mixers
        if (mixer.reach is not None) == near
    )
