"""Measured routed experts of one layer on one rank, over the step's tokens of all ranks."""

from dataclasses import dataclass
from pathlib import Path

from catalog.models import Model
from perfmodel.kernel_tables.grid import Measured
from perfmodel.kernel_tables.rows import Rows, parquet_rows
from perfmodel.shard import weight_dtypes
from strategies.layout import Layout

FILE = "moe_perf.parquet"
COLUMNS = (
    "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size",
    "moe_ep_size", "distribution", "latency",
)  # fmt: skip
DTYPES = {
    "bfloat16": ("bfloat16",),
    "fp8": ("fp8_block", "fp8"),
    "mxfp4": ("w4a16_mxfp4",),
    "int4": ("int4_wo",),
    "nvfp4": ("nvfp4",),
}
"""A table's names of what weights are stored in; the first that has the shape."""
SKEWED, BALANCED = "power_law_1.01", "balanced"
"""How its makers route tokens: by a power law, the busiest rank timed, or all alike."""
GATED = 3
LAUNCHES = 6.0
"""Kernels that one measured call runs: sorting, aligning, two products, activation, sum."""
KERNEL, WHOLE, WHOLE_LAUNCHES = "kernel_source", "monolithic", 8.0
"""One that takes the router's logits runs softmax and top-k as well."""


@dataclass(frozen=True, slots=True)
class LayerExperts:
    """One layer's routed experts on a rank."""

    measured: Measured
    """Over the tokens of all ranks."""
    layers: int
    launches: float = LAUNCHES
    """Of one layer, of those that a step counts."""


def table_experts(path: Path, model: Model, layout: Layout, *, skewed: bool) -> LayerExperts | None:
    """None where the table lacks the shape, the split or the type."""
    experts = model.experts
    if experts is None or experts.matrices != GATED or experts.space is not None:
        return None
    ranks = layout.tp * layout.dp
    shape = parquet_rows(path, COLUMNS, (KERNEL,)).where(
        hidden_size=model.hidden,
        inter_size=experts.width,
        topk=experts.top_k,
        num_experts=experts.count,
        moe_tp_size=1 if layout.ep else ranks,
        moe_ep_size=ranks if layout.ep else 1,
        distribution=SKEWED if skewed else BALANCED,
    )
    for name in DTYPES.get(weight_dtypes(model)[1], ()):
        rows = shape.where(moe_dtype=name)
        if (measured := rows.times("num_tokens")) is not None:
            return LayerExperts(measured, experts.layers, _launches(rows))
    return None


def _launches(rows: Rows) -> float:
    names = [str(name) for name in rows.columns.get(KERNEL, ())]
    return WHOLE_LAUNCHES if names and all(WHOLE in name for name in names) else LAUNCHES
