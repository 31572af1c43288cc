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
GATHER_SCATTER, DIRECT = "allgather_reducescatter", "deepep_low_latency"
"""vLLM's default, and the back end whose copies (one for each expert a token chose) are priced."""
PLACEMENTS = ("linear", "round_robin")


def _none(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Knob:
    """One option: what it does, its allowed values, vLLM's arguments for it, and who prices it.

    vLLM takes every level. The simulated engine takes those alone that the analytic model has a
    price of their own for, since it would find any other equal to the layout without it.
    """

    about: str
    allowed: str
    accepts: Callable[[str], bool]
    vllm_args: Callable[[str], list[str]]
    needs_ep: bool = True
    priced: str = "no level"
    """The levels that the analytic model prices, in words."""
    prices: Callable[[str], bool] = _none


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
        priced=f"{GATHER_SCATTER}, {DIRECT}",
        prices=(GATHER_SCATTER, DIRECT).__contains__,
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
        priced="linear",
        prices="linear".__eq__,
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
        priced="every degree",
        prices=lambda _: True,
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


def refuse_unpriced(layout: Layout) -> None:
    """Raise BadValue for the first level that the analytic model has no price for."""
    for name, value in layout.knobs:
        if not KNOBS[name].prices(value):
            allowed = (
                f"in simulation {KNOBS[name].priced}, since the model has no price for {value} "
                f"(it has for {priced_knobs()}); --engine vllm takes every level"
            )
            raise BadValue(f"knob {name}", layout.name, allowed)


def priced_knobs() -> str:
    """Say which levels of which knobs have a price, for people."""
    priced = {name: knob.priced for name, knob in KNOBS.items() if knob.prices is not _none}
    return "; ".join(f"{name} ({levels})" for name, levels in priced.items())
