"""How a length or a time is spread: fixed, uniform or lognormal, as a user writes it."""

import math
import re

import msgspec
import numpy as np
from numpy.typing import NDArray

from catalog.errors import BadValue

ALLOWED = "N, A-B (uniform, both included) or MEAN~CV (lognormal)"
CUT_Z = 3.0902
"""Standard normal quantile at 99.9 %: a lognormal is cut there, so that a longest is known."""
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_TEXT = re.compile(rf"({_NUMBER})(?:([-~])({_NUMBER}))?", re.ASCII)


class Distribution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers of at least 0: `low` alone, uniform from `low` to `high`, or lognormal.

    A lognormal has the mean `low` and the coefficient of variation `cv` (standard deviation over
    mean): ln X is normal with variance σ² = ln(1 + cv²) and mean ln(mean) − σ²/2.
    """

    low: float
    high: float
    cv: float = 0.0

    @property
    def mean(self) -> float:
        return self.low if self.cv else (self.low + self.high) / 2

    @property
    def most(self) -> float:
        """The largest number drawn; of a lognormal its 99.9 % quantile, where it is cut."""
        if not self.cv:
            return self.high
        sigma = math.sqrt(math.log1p(self.cv**2))
        return self.low * math.exp(CUT_Z * sigma - sigma**2 / 2)

    @property
    def most_tokens(self) -> int:
        return max(1, math.ceil(self.most))

    @property
    def fixed(self) -> bool:
        return not self.cv and self.low == self.high

    @property
    def text(self) -> str:
        """The canonical spelling, which reads back as the same distribution."""
        if self.cv:
            return f"{plain(self.low)}~{plain(self.cv)}"
        return plain(self.low) if self.fixed else f"{plain(self.low)}-{plain(self.high)}"

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw `count` real numbers, each at most `most`."""
        if self.cv:
            sigma = math.sqrt(math.log1p(self.cv**2))
            drawn = rng.lognormal(math.log(self.low) - sigma**2 / 2, sigma, count)
            return np.minimum(drawn, self.most)
        return rng.uniform(self.low, self.high, count)

    def draw_tokens(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Draw `count` whole numbers from 1 to `most_tokens`."""
        if self.cv:
            return np.clip(np.rint(self.draw(rng, count)), 1, self.most_tokens).astype(np.int64)
        return rng.integers(int(self.low), int(self.high) + 1, count)


def plain(number: float) -> str:
    """Write a number as short as it reads back: 2, 0.5, 0.00001 (the language has no exponents)."""
    return np.format_float_positional(number, trim="-")


def parse_tokens(text: str, what: str, given: str, most: int) -> Distribution:
    """Read a distribution of token counts, from 1 to `most`; `given` is the whole workload."""
    found = _parsed(text)
    if found is None:
        raise BadValue(what, given, f"whole numbers of at least 1 as {ALLOWED}")
    whole = found.cv or (found.low == int(found.low) and found.high == int(found.high))
    if not whole or not 1 <= found.low <= found.high or found.most > most:
        raise BadValue(what, given, f"whole numbers of at least 1 as {ALLOWED}, at most {most:,}")
    return found


def parse_seconds(text: str, what: str, given: str, most: float) -> Distribution:
    """Read a distribution of seconds, from 0 to `most`."""
    found = _parsed(text)
    if found is None or not found.low <= found.high or found.most > most:
        raise BadValue(what, given, f"seconds as {ALLOWED}, at most {most:g}")
    return found


def _parsed(text: str) -> Distribution | None:
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    low, second = float(match[1]), float(match[3] or match[1])
    if match[2] != "~":
        return Distribution(low=low, high=second)
    if not low or not 0 < second <= 10:
        return None
    return Distribution(low=low, high=low, cv=second)
