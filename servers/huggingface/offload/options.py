"""What is kept resident, what is guessed ahead, and where a missing expert is computed."""

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from catalog.errors import BadValue
from catalog.models import Model
from catalog.units import DTYPE_BYTES, MIB, size_bytes
from servers.huggingface.flags import flag_words
from strategies.technique import Technique

SCALE_BYTES = 4.0
"""One single-precision scale a row of an int8 expert."""


class OffloadOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of `resident`, `memory_bytes` and `share` sets the budget."""

    resident: int | None = None
    """Experts of each layer; every layer has a cache of its own."""
    memory_bytes: float | None = None
    """Of one cache for all layers."""
    share: float | None = None
    """Of all experts, in one cache for all layers."""
    cache: Literal["lru", "activation"] = "lru"
    prefetch: int = 0
    """Experts of a later layer fetched ahead, at most."""
    ahead: int = 1
    """Layers looked at: the first of them that lacks a guessed expert is fetched for."""
    split: Literal["none", "layers"] = "none"
    """`layers`: a cache for each layer, as large as what a text used of it makes worth while."""
    skip: float = 0.0
    """AdapMoE's threshold T: experts whose absence moves the loss less than it are left out."""
    experts: Literal["full", "int8"] = "full"
    compute: Literal["move", "host", "measured"] = "move"
    """Where a missing expert is computed: on the device once moved, on the host, or the quicker."""

    @property
    def by_layer(self) -> bool:
        return self.resident is not None or self.split == "layers"

    @property
    def calibrated(self) -> bool:
        """Whether a text has to be run through the model first."""
        return self.skip > 0 or self.split == "layers"


def options_of(knobs: Mapping[str, str]) -> OffloadOptions:
    """Translate the knobs of the technique `expert-offload`, which have been checked."""
    given = {
        name: knobs[name] for name in ("cache", "experts", "compute", "split") if name in knobs
    }
    return OffloadOptions(
        resident=int(knobs["resident"]) if "resident" in knobs else None,
        memory_bytes=size_bytes(knobs["memory"]) if "memory" in knobs else None,
        share=float(knobs["share"]) if "share" in knobs else None,
        prefetch=int(knobs.get("prefetch", "0")),
        ahead=int(knobs.get("ahead", "1")),
        skip=float(knobs.get("skip", "0")),
        **given,  # type: ignore[arg-type]  # literals, checked by the technique's own table
    )


def budget_of(technique: Technique) -> OffloadOptions | None:
    """Return what a technique packs: the experts it offloads, or all of them as int8."""
    knobs, int8 = technique.knobs("expert-offload"), technique.knobs("int8") is not None
    if knobs is None and not int8:
        return None
    options = options_of(knobs) if knobs is not None else OffloadOptions(share=1.0)
    return msgspec.structs.replace(options, experts="int8") if int8 else options


def arguments_of(options: OffloadOptions) -> list[str]:
    """Write options as arguments of the decoder `offload`."""
    given = {
        "--resident": options.resident,
        "--memory-bytes": options.memory_bytes,
        "--share": options.share,
        "--cache": options.cache,
        "--prefetch": options.prefetch,
        "--ahead": options.ahead,
        "--split": options.split,
        "--skip": options.skip,
        "--experts": options.experts,
        "--compute": options.compute,
    }
    return flag_words(given)


def packed_expert_bytes(hidden: int, width: int, *, element_bytes: float, int8: bool) -> float:
    """Bytes of one expert: gate and up (2I, H) and down (H, I), with scales where it is int8."""
    weights = 3 * hidden * width
    return weights + SCALE_BYTES * (2 * width + hidden) if int8 else weights * element_bytes


def slots_of(options: OffloadOptions, *, layers: int, experts: int, expert_bytes: float) -> int:
    """Return how many experts all caches together hold; raise BadValue where it is not one."""
    total = layers * experts
    if options.resident is not None:
        if options.resident > experts:
            allowed = f"up to the {experts} experts of a layer"
            raise BadValue("expert-offload resident", options.resident, allowed)
        return layers * options.resident
    if options.memory_bytes is not None:
        slots, given = options.memory_bytes / expert_bytes, _mib(options.memory_bytes)
    else:
        assert options.share is not None
        slots, given = options.share * total, f"share {options.share:g} of {total} experts"
    count = min(total, math.floor(slots + 1e-9))
    if count < 1:
        needed = f"room for one expert: {_mib(expert_bytes)}, or 1 of {total}"
        raise BadValue("budget of expert-offload", given, needed)
    if options.split == "layers" and count < layers:
        each = f"with split=layers room for one expert of each layer: {layers} of {total} experts"
        raise BadValue("budget of expert-offload", given, f"{each}, {_mib(layers * expert_bytes)}")
    return count


def _mib(size: float) -> str:
    return f"{size / MIB:.3g} MiB"


def check_offload(model: Model, options: OffloadOptions, *, dtype: str | None = None) -> int:
    """Refuse a budget for a model of the catalog before it is loaded; return the slots."""
    experts = model.experts
    if experts is None:
        raise BadValue("technique expert-offload", model.name, "a model with experts")
    size = expert_bytes_of(model, int8=options.experts == "int8", dtype=dtype)
    return slots_of(options, layers=experts.layers, experts=experts.count, expert_bytes=size)


def expert_bytes_of(model: Model, *, int8: bool, dtype: str | None = None) -> float:
    """Bytes of one of the model's experts as they are kept and moved."""
    assert model.experts is not None
    stored = dtype or model.expert_dtype or model.weight_dtype
    return packed_expert_bytes(
        model.hidden, model.experts.width, element_bytes=DTYPE_BYTES[stored], int8=int8
    )
