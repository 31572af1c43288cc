"""Kernel launches of one layer, counted by hand from vLLM's modules (± 2)."""

import numpy as np
import numpy.typing as npt

from catalog.models import GroupedQueryAttention, LatentAttention, Model
from perfmodel.arrays import FloatArray, Real
from perfmodel.constants import Constants
from perfmodel.shard import context_ways
from strategies.layout import Layout

# Norm, projections, rotary embedding, cache write, attention, output projection, norm.
ATTENTION = 9
# Router, top-k, sort and align, two grouped products with activation, weighted sum.
EXPERTS = 9
DENSE_FFN = 3
# Down and up projections of queries and latents, and their norms.
LATENT = 6
# Of decode context parallelism: queries gathered, softmax sums gathered, results scattered.
CONTEXT = 3


def launches_per_step(model: Model, layout: Layout, constants: Constants) -> float:
    """Return the launches of all layers of one step, dispatch to experts included."""
    moe_layers = model.experts.layers if model.experts else 0
    moe = EXPERTS + dispatch_launches(layout, constants)
    moe += constants.shared_launches if has_shared_experts(model) else 0.0
    per_layer = ATTENTION + _norms(model, layout) + (2 if layout.tp > 1 else 0)
    per_layer += CONTEXT if context_ways(layout) > 1 else 0
    per_layer += LATENT if isinstance(model.attention, LatentAttention) else 0
    mixing = sum(block.count for block in model.stack if block.mixers)
    return mixing * per_layer + moe_layers * moe + model.dense_layers * DENSE_FFN


def has_shared_experts(model: Model) -> bool:
    return model.experts is not None and model.experts.shared_width > 0


def growth_s(model: Model, layout: Layout, constants: Constants, *, sequences: int) -> float:
    """Return the time of a step that grows with a replica's sequences B: η_H L B + η_S L B²."""
    if model.experts is None or layout.tp == 1:
        return 0.0
    hybrid_s = constants.hybrid_growth_s * sequences if layout.dp > 1 else 0.0
    shared_s = constants.shared_growth_s * sequences**2 if has_shared_experts(model) else 0.0
    return model.experts.layers * (hybrid_s + shared_s)


def host_shown(
    constants: Constants, busy_s: Real, host_s: Real, *, ahead: npt.ArrayLike
) -> FloatArray:
    """Return what shows of a step beside the GPU's layers, which take `busy_s`.

    That is `step_s` and the host's time or, where the host works ahead, what of it is over.
    """
    over_s = np.maximum(constants.step_s, host_s - busy_s)
    return np.where(ahead, over_s, np.asarray(constants.step_s + host_s))


def dispatch_launches(layout: Layout, constants: Constants) -> float:
    if layout.dp == 1:
        return 0.0
    return constants.hybrid_launches if layout.tp > 1 else constants.dispatch_launches


def _norms(model: Model, layout: Layout) -> int:
    """Query and key norms; over the whole projection they need it gathered from all tp ranks."""
    if not isinstance(model.attention, GroupedQueryAttention) or model.attention.qk_norm == "none":
        return 0
    return 7 if model.attention.qk_norm == "full" and layout.tp > 1 else 2
