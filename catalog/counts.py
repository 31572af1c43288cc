"""The sizes of a model as a list shows them."""

import msgspec

from catalog.models import Counted, Kind, Model


class Counts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What follows from a model's layers. None is not known, or there is none of it."""

    kind: Kind = "autoregressive"
    counted: Counted = "exact"
    total_params: int | None = None
    active_params: int | None = None
    layers: int | None = None
    hidden: int | None = None
    experts: int | None = None
    top_k: int | None = None
    expert_width: int | None = None
    kv_elements_per_token: int | None = None
    weight_bytes: int | None = None
    """As the checkpoint is published, scales counted."""
    weight_dtype: str | None = None
    """Of most of them."""
    max_context: int | None = None


def counts_of(model: Model) -> Counts:
    """Return a model's sizes; of one that is not counted, its longest context alone."""
    if model.counted == "no":
        return Counts(counted="no", max_context=model.max_context or None)
    experts = model.experts
    return Counts(
        kind=model.kind,
        counted=model.counted,
        total_params=model.total_params,
        active_params=model.active_params,
        layers=model.layers,
        hidden=model.hidden,
        experts=experts.count if experts else None,
        top_k=experts.top_k if experts else None,
        expert_width=experts.width if experts else None,
        kv_elements_per_token=model.kv_elements_per_token,
        weight_bytes=round(model.held.total) if model.sized else None,
        weight_dtype=most_dtype(model) if model.sized else None,
        max_context=model.max_context or None,
    )


def most_dtype(model: Model) -> str:
    """Return the data type of most weights: that of the experts where they are the larger part."""
    experts = model.expert_dtype
    return (
        experts if experts and 2 * model.expert_params > model.total_params else model.weight_dtype
    )
