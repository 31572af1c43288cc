"""Which library quantises how, and what it can be asked for."""

import math
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import Literal, get_args

import msgspec

from catalog.errors import BadValue, MissingExtra
from catalog.models import GroupedQueryAttention, Model
from strategies.methods import HQQ_GROUPS, TORCHAO_GROUPS
from strategies.technique import Technique

Scheme = Literal[
    "torchao-int8", "torchao-fp8", "torchao-int4", "bnb-int8", "bnb-nf4", "bnb-fp4", "hqq"
]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
LIBRARIES = {"torchao": "torchao", "bnb": "bitsandbytes", "hqq": "hqq"}
GROUPS: Mapping[Scheme, int] = {"torchao-int4": 128, "hqq": 64}
"""Weights of a row that share a scale, unless asked otherwise; others have no choice."""
GROUP_SIZES: Mapping[Scheme, tuple[str, ...]] = {"torchao-int4": TORCHAO_GROUPS, "hqq": HQQ_GROUPS}
BITS = 4
"""Of HQQ, unless asked otherwise."""


class QuantOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scheme; `bits` are HQQ's alone."""

    scheme: Scheme
    bits: int = BITS
    group: int | None = None

    def __post_init__(self) -> None:
        sizes = GROUP_SIZES.get(self.scheme, ())
        if self.group is not None and f"{self.group}" not in sizes:
            allowed = ", ".join(sizes) or f"none: {self.scheme} stands alone"
            raise BadValue(f"knob group of {self.scheme}", self.group, allowed)

    @property
    def library(self) -> str:
        return LIBRARIES[self.scheme.partition("-")[0]]

    def require_library(self) -> None:
        if find_spec(self.library) is None:
            raise MissingExtra(f"technique {self.scheme}", "quant")

    def check_widths(self, widths: Collection[int], model: str) -> None:
        """Refuse a group that does not divide every row: it would stay as it is, or be padded."""
        common = math.gcd(*widths)
        if self.group is None or not common % self.group:
            return
        fitting = [text for text in GROUP_SIZES[self.scheme] if not common % int(text)]
        raise BadValue(
            f"knob group of {self.scheme}",
            self.group,
            f"a divisor of the {common} that the widths of {model} share: "
            f"{', '.join(fitting) or 'none of its sizes'}",
        )

    def check_dtype(self, dtype: str) -> None:
        if self.scheme == "torchao-int4" and dtype != "bfloat16":
            allowed = "bfloat16, the only type its kernel multiplies: bf16+torchao-int4"
            raise BadValue("type of torchao-int4", dtype, allowed)


def options_of(technique: Technique) -> QuantOptions | None:
    """Translate the part of a technique that one of the libraries does; None without one."""
    for scheme in SCHEMES:
        knobs = technique.knobs(scheme)
        if knobs is not None:
            group = knobs.get("group", GROUPS.get(scheme))
            return QuantOptions(
                scheme=scheme,
                bits=int(knobs.get("bits", BITS)),
                group=None if group is None else int(group),
            )
    return None


def arguments_of(options: QuantOptions) -> list[str]:
    """Write options as arguments of the decoder `quant`."""
    group = [] if options.group is None else ["--group", f"{options.group}"]
    bits = ["--bits", f"{options.bits}"] if options.scheme == "hqq" else []
    return ["--scheme", options.scheme, *bits, *group]


def widths_of(model: Model) -> tuple[int, ...]:
    """Return the input widths of the linear layers of a model of the catalog."""
    attention, experts = model.attention, model.experts
    if isinstance(attention, GroupedQueryAttention):
        inner = [attention.heads * attention.head_dim]
    else:
        inner = [attention.heads * attention.value_dim, attention.kv_rank]
        inner.append(attention.query_rank or 0)
    routed = [experts.width, experts.shared_width] if experts else []
    return tuple(filter(None, (model.hidden, model.dense_width, *inner, *routed)))
