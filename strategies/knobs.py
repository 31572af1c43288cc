"""Options that belong to a layout and are levels of an experiment like the layout itself."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from catalog.errors import BadValue, UnknownName
from strategies.layout import Layout

# vLLM's AllToAllBackend (config/parallel.py) as of 0.32.
ALL_TO_ALL = (
    "allgather_reducescatter",
    "deepep_high_throughput",
    "deepep_low_latency",
    "deepep_v2",
    "mori_high_throughput",
    "mori_low_latency",
    "moonep",
    "nixl_ep",
    "flashinfer_nvlink_one_sided",
    "flashinfer_nvlink_two_sided",
)
PLACEMENTS = ("linear", "round_robin")


@dataclass(frozen=True, slots=True)
class Knob:
    """One option: what it does, its allowed values, and vLLM's arguments for it."""

    about: str
    allowed: str
    accepts: Callable[[str], bool]
    vllm_args: Callable[[str], list[str]]
    needs_ep: bool = True


def _count(value: str) -> bool:
    return value.isascii() and value.isdigit() and int(value) <= 4096


def _eplb_args(redundant: str) -> list[str]:
    config = msgspec.json.encode({"num_redundant_experts": int(redundant)}).decode()
    return ["--enable-eplb", "--eplb-config", config]


KNOBS: dict[str, Knob] = {
    "all2all": Knob(
        about="how tokens travel to their experts",
        allowed=", ".join(ALL_TO_ALL),
        accepts=ALL_TO_ALL.__contains__,
        vllm_args=lambda value: ["--all2all-backend", value],
    ),
    "eplb": Knob(
        about="expert load balancing with this many redundant experts",
        allowed="a count from 0",
        accepts=_count,
        vllm_args=_eplb_args,
    ),
    "placement": Knob(
        about="which experts a rank holds",
        allowed=", ".join(PLACEMENTS),
        accepts=PLACEMENTS.__contains__,
        vllm_args=lambda value: ["--expert-placement-strategy", value],
    ),
    "dbo": Knob(
        about="dual-batch overlap of communication and computation",
        allowed="on",
        accepts=lambda value: value == "on",
        vllm_args=lambda _: ["--enable-dbo"],
    ),
    "dcp": Knob(
        about="decode context parallel degree, within the tensor-parallel group",
        allowed="a count from 1",
        accepts=lambda value: _count(value) and int(value) > 0,
        vllm_args=lambda value: ["--decode-context-parallel-size", value],
        needs_ep=False,
    ),
}


def check_knobs(layout: Layout, knobs: tuple[tuple[str, str], ...]) -> None:
    """Refuse unknown knobs, values not allowed, and expert knobs where experts are not spread."""
    for name, value in knobs:
        knob = KNOBS.get(name)
        if knob is None:
            raise UnknownName("knob of a strategy", name, KNOBS)
        if not knob.accepts(value):
            raise BadValue(f"knob {name}", value, knob.allowed)
        if knob.needs_ep and not layout.ep:
            raise BadValue(f"knob {name}", f"{layout.name} without ep", "a layout with +ep")
        if name == "dcp" and layout.tp % int(value):
            raise BadValue("knob dcp", value, f"a divisor of tp = {layout.tp}")
