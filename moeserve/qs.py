"""Rows of `moeserve qs`: one model against its quality-matched dense twin."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.errors import BadValue
from catalog.from_hf import load_model
from catalog.model_table import MODELS
from catalog.models import Model
from orchestrator.results.record import Row
from perfmodel.capacity import CalibratedCapacity, ClusterSplit, calibrated_capacity, largest_batch
from perfmodel.qs import (
    KAPLAN_ALPHA,
    ReuseGap,
    active_fraction,
    crossover_batch,
    dense_advantaged,
    exact_traffic_ratio,
    quality_matched_params,
    quality_of_losses,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """Where batches are counted: a cluster's split and a context."""

    split: ClusterSplit
    context: int
    as_printed: bool = True
    """Whether the cluster is the paper's: its fitted batches hold for no other."""

    def __post_init__(self) -> None:
        if self.context < 1:
            raise BadValue("--context", self.context, "1 token or more")


DEFAULT_QUALITY = 5.0
PRINTED_GPU = "B200"
"""Of the paper's reference system."""


def quality_asked(quality: float | None, losses: str | None, alpha: float | None) -> float:
    """q as given, or from two losses; both is one too many."""
    if losses is None:
        if alpha is not None:
            raise BadValue("--alpha", alpha, "with --losses, from which it gives q")
        return check_quality(DEFAULT_QUALITY if quality is None else quality)
    if quality is not None:
        raise BadValue("--quality and --losses", "both", "one of them: losses give q")
    try:
        dense, moe = map(float, losses.split(":"))
    except ValueError:
        raise BadValue("--losses", losses, "DENSE:MOE, as 2.34:2.12") from None
    return check_quality(quality_of_losses(dense, moe, KAPLAN_ALPHA if alpha is None else alpha))


def check_quality(quality: float) -> float:
    if not 0 < quality < float("inf"):
        raise BadValue("--quality", quality, "above 0: how much larger an equal dense model is")
    return quality


def count_rows(experts: int | None, top_k: int | None, quality: float, *, alone: bool) -> list[Row]:
    """The inequality from counts alone, which give no sizes."""
    if experts is None or top_k is None:
        raise BadValue("--experts and --top-k", "one alone", "both, or a --model")
    if not alone:
        raise BadValue("--experts", experts, "no --model or --gpus beside it: counts give no sizes")
    return [inequality_row(experts, top_k, quality)]


def model_rows(names: Sequence[str], quality: float, operation: Operation | None) -> list[Row]:
    """One row a model; without names the published ones of `model_table` that have experts."""
    known = [each for each in MODELS.values() if each.experts and each.hf_id]
    models = [load_model(name) for name in names] or known
    return [model_row(model, quality, operation) for model in models]


def inequality_row(experts: int, top_k: int, quality: float, *, name: str = "") -> Row:
    """The inequality alone, from counts."""
    s = active_fraction(experts, top_k)
    crossover = crossover_batch(quality, s)
    return {
        "model": name or f"{experts} experts, top-{top_k}",
        "experts": experts,
        "top_k": top_k,
        "s": s,
        "q": quality,
        "qs": quality * s,
        "dense_advantaged": dense_advantaged(quality, s),
        # Below this batch the mixture reads fewer bytes, whatever q s says of large ones.
        "crossover_batch": crossover if np.isfinite(crossover) else None,
    }


def model_row(model: Model, quality: float, operation: Operation | None) -> Row:
    """The inequality of a model and, on a cluster, both admissible batches and the reuse gap."""
    experts = model.experts
    if experts is None:
        raise BadValue("--model", model.name, "a model with experts")
    s = experts.active_fraction
    dense_params = float(quality_matched_params(quality, s, model.total_params))
    row = {
        **inequality_row(experts.count, experts.top_k, quality, name=model.name),
        "total_params": model.total_params,
        "dense_params": dense_params,
    }
    if operation is None:
        return row
    return {**row, **_batches(model, quality, dense_params, operation)}


def _batches(model: Model, quality: float, dense_params: float, operation: Operation) -> Row:
    assert model.experts is not None
    split, context = operation.split, operation.context
    moe, dense = (
        largest_batch(model, params, context=context, split=split)
        for params in (model.total_params, dense_params)
    )
    s = model.experts.active_fraction
    gap = ReuseGap(s, moe, dense) if moe and dense else None
    fitted = calibrated_capacity(model.name, split) if operation.as_printed else None
    return {
        "gpus": split.gpus,
        "context": context,
        "feasible": moe > 0,
        "b_moe": moe or None,
        "b_dense": dense or None,
        "r_moe": s * moe if moe else None,
        "r_dense": float(dense) if dense else None,
        "routing_factor": 1.0 / s,
        "capacity_factor": gap.capacity_factor if gap else None,
        "reuse_gap": gap.total if gap else None,
        "exact_qs": float(exact_traffic_ratio(quality, s, moe)) if moe else None,
        "paper_fit_b_moe": _fitted(fitted, model.total_params, context),
        "paper_fit_b_dense": _fitted(fitted, dense_params, context),
        "conventions": split.text,
    }


def _fitted(capacity: CalibratedCapacity | None, params: float, context: int) -> int | None:
    return capacity.largest_batch(params / 1e9, context=context) if capacity else None
