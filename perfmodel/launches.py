"""Kernel launches of one layer, counted by hand from vLLM's modules (± 2)."""

from catalog.models import GroupedQueryAttention, LatentAttention, Model
from perfmodel.constants import Constants
from strategies.layout import Layout

# Norm, projections, rotary embedding, cache write, attention, output projection, norm.
ATTENTION = 9
# Router, top-k, sort and align, two grouped products with activation, weighted sum.
EXPERTS = 9
DENSE_FFN = 3
SHARED_EXPERTS = 7
# Down and up projections of queries and latents, and their norms.
LATENT = 6


def launches_per_step(model: Model, layout: Layout, constants: Constants) -> float:
    """Return the launches of all layers of one step, dispatch to experts included."""
    moe_layers = model.experts.layers if model.experts else 0
    shared = SHARED_EXPERTS if model.experts and model.experts.shared_width else 0
    moe = EXPERTS + shared + dispatch_launches(layout, constants)
    per_layer = ATTENTION + _norms(model, layout) + (2 if layout.tp > 1 else 0)
    per_layer += LATENT if isinstance(model.attention, LatentAttention) else 0
    return model.layers * per_layer + moe_layers * moe + model.dense_layers * DENSE_FFN


def dispatch_launches(layout: Layout, constants: Constants) -> float:
    if layout.dp == 1:
        return 0.0
    return constants.hybrid_launches if layout.tp > 1 else constants.dispatch_launches


def _norms(model: Model, layout: Layout) -> int:
    """Query and key norms; over the whole projection they need it gathered from all tp ranks."""
    if not isinstance(model.attention, GroupedQueryAttention) or model.attention.qk_norm == "none":
        return 0
    return 7 if model.attention.qk_norm == "full" and layout.tp > 1 else 2
