"""The quality-matched dense model of an MoE model, as a model like any other."""

import msgspec

from catalog.errors import BadValue
from catalog.models import Model
from perfmodel.qs import quality_matched_params

# Wide enough to divide over any tensor-parallel degree in use.
WIDTH_MULTIPLE = 256


def dense_twin(model: Model, quality: float, *, total_params: float | None = None) -> Model:
    """Return the dense model of q s P_total parameters with the same attention (eq. 21).

    The feed-forward width makes up the total, rounded to a multiple of 256.
    """
    if model.experts is None:
        raise BadValue("model", model.name, "one with experts")
    total = model.total_params if total_params is None else total_params
    wanted = quality_matched_params(quality, model.experts.active_fraction, total)
    left = float(wanted) - model.attention_params - model.embedding_params
    matrices = 3
    width = round(left / (model.layers * matrices * model.hidden * WIDTH_MULTIPLE)) * WIDTH_MULTIPLE
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
        expert_dtype=None,
        extra_params=0,
    )
