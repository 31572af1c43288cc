"""Measured attention of grouped queries: a step's scores and cache reads in all layers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalog.models import GroupedQueryAttention, Mixer, Model
from perfmodel.arrays import FloatArray
from perfmodel.kernel_tables.grid import Measured
from perfmodel.kernel_tables.rows import Rows, parquet_rows
from perfmodel.load import StepLoad
from perfmodel.shard import context_ways, default_kv_dtype
from strategies.layout import Layout

PREFILL, DECODE = "context_attention_perf.parquet", "generation_attention_perf.parquet"
COLUMNS = (
    "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim", "attn_dtype",
    "kv_cache_dtype", "step", "latency",
)  # fmt: skip
WINDOW = "window_size"
"""Older tables have no such column: they measured layers that see their whole context alone."""
CACHES = {"bfloat16": "bfloat16", "fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8"}


@dataclass(frozen=True, slots=True)
class AttentionKind:
    """Layers of one kind."""

    layers: int
    decode: Measured
    """Over sequences and the entries each reads, its own included."""
    prefill: Measured
    """Over sequences and the tokens of each, none before them."""


@dataclass(frozen=True, slots=True)
class AttentionTable:
    """All layers that score; each kind is in the table."""

    kinds: tuple[AttentionKind, ...]
    launches_each: float = 1.0
    """Kernels of one layer, of those that a step counts."""
    projects: bool = False
    """Whether the projections around it were timed with it."""

    @property
    def launches(self) -> float:
        return self.launches_each * sum(kind.layers for kind in self.kinds)

    def seconds(self, load: StepLoad, ahead: FloatArray, *, ways: int) -> FloatArray:
        """Price the steps after `load`, as `Phases.attention`; nan where one was not measured.

        Prompts' chunks with others before them were not: a table holds whole prompts. Nor were,
        with their projections, prompts and decoding together: they read the same weights once.
        """
        if self.projects and load.decode_sequences and load.prefill_tokens:
            return np.full(len(ahead), np.nan)
        total = np.zeros(len(ahead))
        if load.decode_sequences:
            before = load.kv_tokens - load.prefill_context - load.prefill_tokens
            context = before / load.decode_sequences + ahead
            batch = load.decode_sequences / ways
            total = total + sum(k.layers * k.decode.at(batch, context) for k in self.kinds)
        if load.prefill_tokens:
            total = total + self._prompts_s(load, ways)
        return total

    def _prompts_s(self, load: StepLoad, ways: int) -> float:
        """Prompts of unequal lengths as equal ones with the same tokens and the same pairs."""
        if load.prefill_context:
            return np.nan
        length = 2 * load.prompt_pairs / load.prefill_tokens - 1
        batch = load.prefill_tokens / length / ways
        return float(sum(kind.layers * kind.prefill.at(batch, length) for kind in self.kinds))


def attention_table(
    folder: Path, model: Model, layout: Layout, *, kv_dtype: str | None
) -> AttentionTable | None:
    """None where a kind of layer, the split of its heads or its cache is not in the table."""
    cache = CACHES.get(kv_dtype or default_kv_dtype(model))
    if context_ways(layout) > 1 or cache is None:
        return None
    files = [
        parquet_rows(folder / name, COLUMNS, (WINDOW,)).where(
            attn_dtype="bfloat16", kv_cache_dtype=cache
        )
        for name in (PREFILL, DECODE)
    ]
    kinds = [_kind(count, mixer, layout.tp, files) for count, mixer in model.mixers]
    known = tuple(kind for kind in kinds if kind is not None)
    return AttentionTable(known) if known and len(known) == len(kinds) else None


def _kind(layers: int, mixer: Mixer, tp: int, files: Iterable[Rows]) -> AttentionKind | None:
    if not isinstance(mixer, GroupedQueryAttention) or mixer.top_k is not None or mixer.chunked:
        return None
    if mixer.value_width != mixer.head_dim or mixer.heads % tp:
        return None
    shape = {
        "num_heads": mixer.heads // tp,
        "num_key_value_heads": max(1, mixer.kv_heads // tp),
        "head_dim": mixer.head_dim,
    }
    prompts, steps = (_of_window(rows.where(**shape), mixer.window) for rows in files)
    prefill = prompts.where(step=0).times("batch_size", "isl")
    # A decoding step with so many entries before it reads its own as well.
    reads = steps.with_column("reads", steps.columns["step"] + 1.0)
    decode = reads.times("batch_size", "reads")
    return None if prefill is None or decode is None else AttentionKind(layers, decode, prefill)


def _of_window(rows: Rows, window: int | None) -> Rows:
    if WINDOW not in rows.columns:
        rows = rows.with_column(WINDOW, np.zeros(len(rows)))
    return rows.where(**{WINDOW: window or 0})
