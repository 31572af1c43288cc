"""Why a layout cannot carry a model: every reason, each with the number that fails."""

from catalog.models import FixedState, GroupedQueryAttention, Model
from strategies.layout import Layout


def layout_violations(layout: Layout, model: Model) -> tuple[str, ...]:
    """Return all reasons, empty when the layout fits; memory is the performance model's part.

    Of a model that is not counted nothing is known: its server will say what does not fit.
    """
    if model.counted == "no":
        return ()
    return (*_attention(layout, model), *_layers(layout, model), *_experts(layout, model))


def _attention(layout: Layout, model: Model) -> list[str]:
    """Every kind of attention or state is split over tp by its heads."""
    tp, reasons = layout.tp, []
    for _, mixer in model.mixers:
        if mixer.heads % tp:
            what = "heads of state" if isinstance(mixer, FixedState) else "attention heads"
            reasons.append(f"{mixer.heads} {what} are not divisible by tp = {tp}")
        if isinstance(mixer, GroupedQueryAttention):
            kv = mixer.kv_heads
            if max(kv, tp) % min(kv, tp):
                reasons.append(f"{kv} KV heads and tp = {tp}: one must divide the other")
    return list(dict.fromkeys(reasons))


def _layers(layout: Layout, model: Model) -> list[str]:
    reasons = []
    if layout.pp > model.layers:
        reasons.append(f"pp = {layout.pp} is more than the model's {model.layers} layers")
    if model.dense_layers and model.dense_width % layout.tp:
        reasons.append(f"dense width {model.dense_width} is not divisible by tp = {layout.tp}")
    return reasons


def _experts(layout: Layout, model: Model) -> list[str]:
    experts = model.experts
    if experts is None:
        return [f"{model.name} has no experts to spread"] if layout.ep else []
    reasons = []
    if experts.width % layout.expert_slices:
        reasons.append(
            f"expert width {experts.width} is not divisible by tp*dp = {layout.expert_slices}"
        )
    if experts.shared_width % layout.tp:
        reasons.append(
            f"shared expert width {experts.shared_width} is not divisible by tp = {layout.tp}"
        )
    if experts.count < layout.ep_degree:
        reasons.append(f"{experts.count} experts over {layout.ep_degree} ranks leave ranks empty")
    return reasons
