"""The quality-matched dense model of an MoE model, as a model like any other."""

import msgspec

from catalog.errors import BadValue
from catalog.models import Block, Dense, Model
from perfmodel.qs import quality_matched_params

# Wide enough to divide over any tensor-parallel degree in use.
WIDTH_MULTIPLE = 256
MOST_QUALITY = 1_000_000
"""A number of parameters that still is one: published factors are under ten."""


def dense_twin(model: Model, quality: float, *, total_params: float | None = None) -> Model:
    """Return the dense model of q s P_total parameters with the same attention (eq. 21).

    The feed-forward width makes up the total, rounded to a multiple of 256.
    """
    if model.experts is None:
        raise BadValue("model", model.name, "one with experts")
    if not 0 < quality <= MOST_QUALITY:
        raise BadValue("quality", quality, f"over 0, up to {MOST_QUALITY}")
    total = model.total_params if total_params is None else total_params
    wanted = quality_matched_params(quality, model.experts.active_fraction, total)
    left = float(wanted) - model.attention_params - model.embedding_params
    feeding = sum(block.count for block in model.stack if block.dense or block.routed)
    width = round(left / (feeding * 3 * model.hidden * WIDTH_MULTIPLE)) * WIDTH_MULTIPLE
    if width < WIDTH_MULTIPLE:
        raise BadValue(
            "quality", quality, f"enough that q s P = {float(wanted) / 1e9:.2f} B exceeds attention"
        )
    return msgspec.structs.replace(
        model,
        name=f"{model.name} dense q={quality:g}",
        hf_id=None,
        experts=None,
        dense_width=width,
        blocks=tuple(_dense(block, width) for block in model.blocks),
        expert_dtype=None,
        stored=None,
        extra_params=0,
    )


def _dense(block: Block, width: int) -> Block:
    feeds = block.routed or bool(block.dense)
    part = (Dense(width=width),) if feeds else ()
    return msgspec.structs.replace(block, dense=part, routed=False)
