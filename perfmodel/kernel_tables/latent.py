"""Measured modules of latent attention: scores, cache reads and the projections around them."""

from pathlib import Path

from catalog.models import LatentAttention, Model
from perfmodel.kernel_tables.attention import CACHES, AttentionKind, AttentionTable
from perfmodel.kernel_tables.grid import Measured
from perfmodel.kernel_tables.rows import parquet_rows
from perfmodel.shard import context_ways, default_kv_dtype, weight_dtypes
from strategies.layout import Layout

PREFILL, DECODE = "mla_context_module_perf.parquet", "mla_generation_module_perf.parquet"
COLUMNS = (
    "model", "mla_dtype", "kv_cache_dtype", "gemm_type", "num_heads", "batch_size", "isl", "step",
    "latency",
)  # fmt: skip
GEMMS = {"bfloat16": "bfloat16", "fp8": "fp8_block"}
# Tables name a model for its widths: hidden, of queries' latent, keys' latent, and of a head.
WIDTHS: dict[tuple[int | None, ...], str] = {
    (7168, 1536, 512, 128, 64, 128): "deepseek-ai/DeepSeek-V3",
}
LAUNCHES = 13.0
"""Kernels of one module, of those that a step counts: all of a layer's mixing but its two norms."""


def latent_table(
    folder: Path, model: Model, layout: Layout, *, kv_dtype: str | None
) -> AttentionTable | None:
    """None where the table lacks the widths, the heads of a rank, the cache's or weights' type."""
    kinds = [mixer for _, mixer in model.mixers if isinstance(mixer, LatentAttention)]
    layers, mixer = sum(count for count, _ in model.mixers), kinds[0] if kinds else None
    if mixer is None or any(each != mixer for _, each in model.mixers):
        return None
    if mixer.top_k is not None or mixer.heads % layout.tp or context_ways(layout) > 1:
        return None
    shape: dict[str, object] = {
        "model": WIDTHS.get(_widths(model, mixer)),
        "mla_dtype": "bfloat16",
        "kv_cache_dtype": CACHES.get(kv_dtype or default_kv_dtype(model)),
        "gemm_type": GEMMS.get(weight_dtypes(model)[0]),
        "num_heads": mixer.heads // layout.tp,
    }
    if None in shape.values():
        return None
    prefill = _over(folder / PREFILL, {**shape, "step": 0}, "isl")
    decode = _over(folder / DECODE, shape, "step")
    if prefill is None or decode is None:
        return None
    kind = AttentionKind(layers, decode, prefill)
    return AttentionTable((kind,), launches_each=LAUNCHES, projects=True)


def _over(path: Path, shape: dict[str, object], length: str) -> Measured | None:
    rows = parquet_rows(path, COLUMNS).where(**shape)
    return rows.times("batch_size", length)


def _widths(model: Model, mixer: LatentAttention) -> tuple[int | None, ...]:
    head = (mixer.nope_dim, mixer.rope_dim, mixer.value_dim)
    return (model.hidden, mixer.query_rank, mixer.kv_rank, *head)
