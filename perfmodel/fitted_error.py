"""How far a calibration fitted to someone's own runs is from such runs, and where that is known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from catalog.errors import BadValue, UnknownName
from catalog.hardware import Gpu
from strategies.layout import Layout


@dataclass(frozen=True, slots=True)
class Asked:
    """What is estimated, where it matters for how far that is known; None where it has no value."""

    total_params: float | None = None
    input_len: int | None = None
    output_len: int | None = None
    in_flight: float | None = None
    cached_prefixes: bool = False
    """Whether prompts are found in a prefix cache; those that were measured had none."""


NOTHING_ASKED = Asked()
ASKED_WORDS = {
    "total_params": "parameters",
    "input_len": "prompt tokens",
    "output_len": "output tokens",
    "in_flight": "requests in flight",
}
Reach = Sequence[tuple[str, float, float]]
"""Least and most of parts of `Asked`."""


def beyond(reach: Reach, asked: Asked, verb: str) -> list[str]:
    """Say which parts of a question lie outside of what was seen."""
    said = [f"prompts found in a prefix cache were not {verb}"] if asked.cached_prefixes else []
    for name, low, high in reach:
        value = getattr(asked, name)
        if value is not None and not low <= value <= high:
            said.append(f"{value:.4g} {ASKED_WORDS[name]}, {verb} from {low:.4g} to {high:.4g}")
    return said


def kind_of(layout: Layout) -> str:
    """Which kinds of parallelism a layout has; `single` where it has none."""
    ways = [name for name in ("tp", "pp", "dp") if getattr(layout, name) > 1]
    return "+".join([*ways, *(["ep"] if layout.ep else [])]) or "single"


class FittedError(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nine of ten further runs like those of the fit are within these factors."""

    runs: int
    start: str
    """The calibration that the fit began with; its errors hold away from the runs."""
    factors: tuple[tuple[str, float], ...]
    """By column."""
    gpus: tuple[str, ...]
    kinds: tuple[str, ...]
    reach: tuple[tuple[str, float, float], ...]

    def __post_init__(self) -> None:
        for name, factor in self.factors:
            if not 1 <= factor < math.inf:
                raise BadValue(f"error of {name}", factor, "a factor of 1 or more")
        for name, _, _ in self.reach:
            if name not in ASKED_WORDS:
                raise UnknownName("reach of a fit", name, ASKED_WORDS)

    def outside(self, layout: Layout, gpu: Gpu, asked: Asked) -> tuple[str, ...]:
        """Say what of a question is away from the runs."""
        said = [] if kind_of(layout) in self.kinds else [f"no run of {kind_of(layout)}"]
        if gpu.name not in self.gpus:
            said.append(f"no run on {gpu.name}")
        return tuple(said + beyond(self.reach, asked, "fitted"))
