"""Arrival rates that change over time: multiples of the request rate, as a user writes them.

steps:1x60,4x30,1x60    60 s at the rate, 30 s at four times it, and so on from the beginning
ramp:0.5-2x300          from half to twice the rate in 300 s, which then stays
diurnal:0.2-1.8x600     one wave a period of 600 s, from its lowest to its highest and back
"""

import math
import re

import msgspec
import numpy as np

from catalog.errors import BadValue
from workloads.transcript import Seconds

ALLOWED = (
    "steps:1x60,4x30 (FACTORxSECONDS), ramp:0.5-2x300 or diurnal:0.2-1.8x600 (LOW-HIGHxSECONDS)"
)
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_STEP = re.compile(rf"({_NUMBER})x({_NUMBER})", re.ASCII)
_BETWEEN = re.compile(rf"({_NUMBER})-({_NUMBER})x({_NUMBER})", re.ASCII)
WAVE_POINTS = 360
MOST_PERIODS = 1_000_000


class RateCurve(msgspec.Struct, frozen=True):
    """A factor over time, linear between points, and what it is behind the last.

    `times_s` begin at 0 and do not decrease; equal ones are a step.
    """

    times_s: tuple[float, ...]
    factors: tuple[float, ...]
    again: bool
    """Whether it begins anew; else the last factor stays."""

    def times_of(self, amounts: Seconds) -> Seconds:
        """Return when the integral of the factor reaches each amount: Λ⁻¹, exact to rounding.

        Arrivals of a process of rate 1 at `amounts` are then those of one whose rate is the factor
        (time rescaling, Daley and Vere-Jones 2003, theorem 7.4.I).
        """
        times_s, factors = np.array(self.times_s), np.array(self.factors)
        spans_s, rises = np.diff(times_s), np.diff(factors)
        gained = np.concatenate([[0.0], np.cumsum(spans_s * (factors[:-1] + factors[1:]) / 2)])
        whole = gained[-1]
        periods = np.floor(amounts / whole) if self.again else np.zeros(len(amounts))
        left = amounts - periods * whole
        index = np.clip(np.searchsorted(gained, left, side="right") - 1, 0, len(spans_s) - 1)
        slope = np.divide(rises, spans_s, out=np.zeros(len(rises)), where=spans_s > 0)[index]
        begin, rest = factors[index], left - gained[index]
        # Of a·x²/2 + b·x = rest the root that stays finite as a goes to 0.
        root = np.sqrt(np.maximum(begin**2 + 2 * slope * rest, 0.0))
        within = np.divide(2 * rest, begin + root, out=np.zeros(len(rest)), where=begin + root > 0)
        found: Seconds = times_s[index] + within + periods * times_s[-1]
        beyond = left > whole
        found[beyond] = times_s[-1] + (left[beyond] - whole) / factors[-1]
        return found


def parse_curve(text: str) -> RateCurve:
    """Read a rate curve; BadValue where it is none, or where it never sends anything."""
    kind, _, shape = text.strip().partition(":")
    curve = _steps(shape) if kind == "steps" else _between(kind, shape)
    positive = curve is not None and max(curve.factors) > 0 and curve.times_s[-1] > 0
    if curve is None or not positive or (not curve.again and not curve.factors[-1]):
        raise BadValue("rate curve", text, f"{ALLOWED}, with a rate above 0 and seconds above 0")
    return curve


def _steps(shape: str) -> RateCurve | None:
    times_s, factors = [], []
    begin_s = 0.0
    for step in shape.split(","):
        match = _STEP.fullmatch(step.strip())
        if match is None or not float(match[2]):
            return None
        times_s += [begin_s, begin_s + float(match[2])]
        factors += [float(match[1])] * 2
        begin_s = times_s[-1]
    return RateCurve(tuple(times_s), tuple(factors), True)


def _between(kind: str, shape: str) -> RateCurve | None:
    match = _BETWEEN.fullmatch(shape)
    if match is None or kind not in ("ramp", "diurnal"):
        return None
    low, high, span_s = (float(match[number]) for number in (1, 2, 3))
    if kind == "ramp":
        return RateCurve((0.0, span_s), (low, high), False)
    points = np.linspace(0, 1, WAVE_POINTS + 1)
    wave = (low + high) / 2 - (high - low) / 2 * np.cos(2 * math.pi * points)
    return RateCurve(tuple((points * span_s).tolist()), tuple(wave.tolist()), True)
