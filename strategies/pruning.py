"""What pruning leaves of a model: the counts, before anything is loaded."""

import math
from collections.abc import Mapping

import msgspec

from catalog.errors import BadValue
from catalog.models import Model

EXPERTS, WIDTH = "prune-experts", "prune-width"
METHODS = (EXPERTS, WIDTH)


def share_of(method: str, knobs: Mapping[str, str]) -> float:
    """Return the share that is to go; raise BadValue where the technique names none."""
    if "share" not in knobs:
        raise BadValue(f"technique {method}", "no share", f"{method}:share=0.25, or another part")
    return float(knobs["share"])


def check_knobs(method: str, knobs: Mapping[str, str]) -> None:
    """Refuse a technique without a share, and a text that nothing would be counted on."""
    share_of(method, knobs)
    if "text" in knobs and knobs.get("by") == "router":
        raise BadValue(
            f"knob text of {method}", knobs["text"], "by=use or by=weight, which read it"
        )


def left_of(count: int, share: float, *, least: int, what: str, of: str) -> int:
    """Return count − ⌊share · count⌋; refuse a share that takes nothing, or more than may go.

    `what` may lose by a share, `least` of them must stay; `of` names the model in the message.
    """
    left = count - math.floor(share * count + 1e-9)
    if left == count:
        allowed = f"{_up(1 / count)} or more: one of the {count} of {of}"
        raise BadValue(f"share of {what}", share, allowed)
    if left < least:
        allowed = f"up to {_down((count - least) / count)}, which leaves {least} of {count} in {of}"
        raise BadValue(f"share of {what}", share, allowed)
    return left


def pruned(model: Model, method: str, knobs: Mapping[str, str]) -> Model:
    """Return a model with a share of each layer's experts, or of their width, left out.

    A token still goes to as many experts: its traffic falls with the width alone, and with the
    count what is held, and how many different experts a batch touches.
    """
    share, experts = share_of(method, knobs), model.experts
    if not model.sized:
        return model  # it is not known what of it would go; its server checks it
    if experts is None:
        raise BadValue(f"technique {method}", model.name, "a model with experts")
    if method == EXPERTS:
        what, least = f"{method} (top {experts.top_k})", experts.top_k
        count = left_of(experts.count, share, least=least, what=what, of=model.name)
        changed, part = msgspec.structs.replace(experts, count=count), count / experts.count
    else:
        width = left_of(experts.width, share, least=1, what=method, of=model.name)
        changed, part = msgspec.structs.replace(experts, width=width), width / experts.width
    stored = model.stored
    if stored is not None:
        stored = msgspec.structs.replace(stored, experts=stored.experts * part)
    return msgspec.structs.replace(model, experts=changed, stored=stored)


def _up(share: float) -> str:
    return f"{math.ceil(share * 1e6) / 1e6:g}"


def _down(share: float) -> str:
    return f"{math.floor(share * 1e6) / 1e6:g}"
