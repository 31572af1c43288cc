"""Measured matrix products of a replica's own tokens: projections, dense parts, logits."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalog.models import GroupedQueryAttention, Model
from perfmodel.kernel_tables.grid import Measured
from perfmodel.kernel_tables.rows import parquet_rows
from perfmodel.shard import head_dtype, weight_dtypes
from strategies.layout import Layout

FILE = "gemm_perf.parquet"
COLUMNS = ("gemm_dtype", "m", "n", "k", "latency")
DTYPES = {"bfloat16": "bfloat16", "fp8": "fp8", "nvfp4": "nvfp4"}
"""A table's names of what weights are stored in. Its `fp8_block` is left aside: no product of it
takes less than 55 µs, 170 on Blackwell, from 1 token to 4096, where `fp8` takes 6 to 60: a host
that launches kernel by kernel was timed, not the kernels of a captured graph."""
GATED = 3


@dataclass(frozen=True, slots=True)
class Product:
    """Tokens by k times k by n, in so many layers."""

    layers: int
    n: float
    k: float
    dtype: str


@dataclass(frozen=True, slots=True)
class ProductTable:
    """The products of one part of a step."""

    products: tuple[Product, ...]
    measured: Mapping[str, Measured]
    """By data type: over n, k and tokens."""
    launches: float

    def seconds(self, tokens: float) -> float:
        """Of all layers; nan where one of the products was not measured."""
        found = [p.layers * self.measured[p.dtype].at(p.n, p.k, tokens) for p in self.products]
        return float(np.sum(found))


def product_tables(path: Path, model: Model, layout: Layout) -> dict[str, ProductTable]:
    """By part of `Phases.local`; left out are parts that are more than products of known types."""
    parts = {
        "projections": _projections(model, layout.tp),
        "dense": _dense(model, layout.tp),
        "head": [Product(1, model.vocab / layout.tp, model.hidden, head_dtype(model))],
    }
    found = {}
    for name, products in parts.items():
        measured = {p.dtype: each for p in products if (each := _measured(path, p.dtype))}
        # Logits' launch is not among those that a step counts.
        launches = 0.0 if name == "head" else float(sum(p.layers for p in products))
        if products and all(p.dtype in measured for p in products):
            found[name] = ProductTable(tuple(products), measured, launches)
    return found


@functools.lru_cache(maxsize=32)
def _measured(path: Path, dtype: str) -> Measured | None:
    name = DTYPES.get(dtype)
    rows = parquet_rows(path, COLUMNS)
    return rows.where(gemm_dtype=name).times("n", "k", "m") if name else None


def _projections(model: Model, tp: int) -> list[Product]:
    """Queries, keys and values at once, then the output; none where a layer mixes otherwise."""
    found: list[Product] = []
    dtype, _ = weight_dtypes(model)
    for layers, mixer in model.mixers:
        if not isinstance(mixer, GroupedQueryAttention) or not _plain(mixer):
            return []
        query = mixer.heads * mixer.head_dim / tp
        both = 2 * max(1.0, mixer.kv_heads / tp) * mixer.head_dim
        found.append(Product(layers, query + both, model.hidden, dtype))
        found.append(Product(layers, model.hidden, query, dtype))
    return found


def _plain(mixer: GroupedQueryAttention) -> bool:
    odd = (mixer.query_rank, mixer.index, mixer.shared_values, mixer.borrowed_cache)
    return not any(odd) and mixer.gate == "none" and mixer.value_width == mixer.head_dim


def _dense(model: Model, tp: int) -> list[Product]:
    """Dense layers, shared experts and routers; none where one of them is without a gate."""
    dtype, experts = weight_dtypes(model)[0], model.experts
    wide = list(_gated_parts(model))
    if any(matrices != GATED for *_, matrices in wide):
        return []
    found = []
    for layers, width, _ in wide:
        found.append(Product(layers, 2 * width / tp, model.hidden, dtype))
        found.append(Product(layers, model.hidden, width / tp, dtype))
    if experts is not None and experts.space is None:
        # A router is neither quantised nor split.
        found.append(Product(experts.layers, experts.count, model.hidden, head_dtype(model)))
    return found


def _gated_parts(model: Model) -> Iterator[tuple[int, int, int]]:
    """Layers, width and matrices of each feed-forward part that every token uses."""
    for block in model.stack:
        yield from ((block.count, part.width, part.matrices) for part in block.dense)
    experts = model.experts
    if experts is not None and experts.shared_width:
        yield experts.layers, experts.shared_width, experts.matrices
