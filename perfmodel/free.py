"""The constants that measured runs may move, and how far each is expected to lie from its start."""

import math
from dataclasses import dataclass

from perfmodel.constants import Constants

# Prior standard deviations, assumed: of a logarithm, about the spread of the fits that leave a
# source of the published measurements out; of times that may be none, in seconds.
LOG_SD = {
    "kernel_s": 0.4,
    "sequence_s": 0.5,
    "memory_efficiency": 0.15,
    "compute_efficiency": 0.25,
    "expert_efficiency": 0.4,
    "attention_efficiency": 0.4,
    "token_passes": 0.5,
    "hop_s": 0.7,
    "intake_s": 0.7,
}
SECONDS_SD = {"step_s": 0.5e-3, "first_token_s": 20e-3}
START_HOP_S = 2e-6
EFFICIENCIES = tuple(name for name in LOG_SD if name.endswith("_efficiency"))
REACH = 12.0
"""How many of these a constant may go at most."""


@dataclass(frozen=True, slots=True)
class Free:
    """A constant at a distance z from its start, in prior standard deviations."""

    name: str
    start: float
    sd: float
    logarithmic: bool
    least: float
    most: float

    def value(self, z: float) -> float:
        return self.start * math.exp(self.sd * z) if self.logarithmic else self.start + self.sd * z


def free_constants(start: Constants, *, first_tokens: bool) -> tuple[Free, ...]:
    """What a fit may move from here; the constant of first tokens only where they were measured."""
    found = [_log(name, sd, _start(start, name)) for name, sd in LOG_SD.items()]
    for name, sd in SECONDS_SD.items():
        if first_tokens or name != "first_token_s":
            value = getattr(start, name)
            found.append(Free(name, value, sd, False, -value / sd, REACH))
    return tuple(each for each in found if each.start > 0 or not each.logarithmic)


def _start(start: Constants, name: str) -> float:
    value = getattr(start, name)
    if value is not None:
        return float(value)
    return start.compute_efficiency if name in EFFICIENCIES else START_HOP_S


def _log(name: str, sd: float, value: float) -> Free:
    """No efficiency is over 1."""
    most = -math.log(value) / sd if name in EFFICIENCIES else REACH
    return Free(name, value, sd, True, -REACH, min(most, REACH))
