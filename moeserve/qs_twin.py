"""Rows of `moeserve qs --sensitivity` and `--attribution`: a mixture against its dense twin."""

from collections.abc import Iterator, Sequence

import msgspec

from catalog.from_hf import load_model
from catalog.models import Model
from orchestrator.results.record import ColumnValue, Row
from perfmodel.against_twin import Attribution, Cluster, SystemChange, attribution, sensitivity
from perfmodel.twin import dense_twin


def stored_in(model: Model, dtype: str) -> Model:
    """Return the model with all its weights in one type, as the paper takes them."""
    return msgspec.structs.replace(
        model, weight_dtype=dtype, expert_dtype=None, stored=None, integer_activations=False
    )


def sensitivity_rows(
    names: Sequence[str], quality: float, dtype: str, cluster: Cluster, reference: SystemChange
) -> Iterator[Row]:
    """One row a system: both at their best, and the dense twin's lead."""
    for name in names:
        model = stored_in(load_model(name), dtype)
        for each in sensitivity(model, quality, cluster, reference):
            yield {
                "provenance": "simulated",
                "model": name,
                "varied": each.varied,
                "value": each.value,
                "speedup": each.speedup,
                "moe_tokens_per_s": each.moe.tokens_per_s,
                "dense_tokens_per_s": each.dense.tokens_per_s,
                "moe_batch": each.moe.batch,
                "dense_batch": each.dense.batch,
                "moe_partition": each.moe.name,
                "dense_partition": each.dense.name,
                "calibration": cluster.pricing.name,
            }


def attribution_rows(
    names: Sequence[str], quality: float, dtype: str, cluster: Cluster, change: SystemChange
) -> Iterator[Row]:
    """Two rows a model; units are of its own MoE's computing time a token."""
    for name in names:
        model = stored_in(load_model(name), dtype)
        pair = {"moe": model, "dense": dense_twin(model, quality)}
        found = {variant: attribution(each, cluster, change) for variant, each in pair.items()}
        unit_s = found["moe"].compute_s if found["moe"] else None
        for variant, parts in found.items():
            yield {
                "provenance": "simulated",
                "model": name,
                "variant": variant,
                "feasible": parts is not None,
                **_parts(parts, unit_s),
                "calibration": cluster.pricing.name,
            }


def _parts(parts: Attribution | None, unit_s: float | None) -> Row:
    row: dict[str, ColumnValue] = {
        "batch": parts.partition.batch if parts else None,
        "partition": parts.partition.name if parts else "",
        "tokens_per_s": parts.partition.tokens_per_s if parts else None,
    }
    for name in ("hbm", "compute", "communication"):
        seconds = getattr(parts, f"{name}_s") if parts else None
        row[f"{name}_us_per_token"] = None if seconds is None else seconds * 1e6
        row[f"{name}_units"] = seconds / unit_s if seconds is not None and unit_s else None
    return row
