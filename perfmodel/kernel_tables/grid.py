"""Interpolation between measured points, on logarithms, and never beyond them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from perfmodel.arrays import FloatArray, Real


class Measured(Protocol):
    """Times over one or several variables."""

    def at(self, *where: Real) -> FloatArray:
        """Seconds; nan outside of what was measured."""
        ...


@dataclass(frozen=True, slots=True)
class Curve:
    """log t over log x through measured points, x ascending."""

    log_x: FloatArray
    log_s: FloatArray

    def at(self, *where: Real) -> FloatArray:
        (x,) = where
        log_x = np.log(np.asarray(x, dtype=np.float64))
        found = np.interp(log_x, self.log_x, self.log_s, left=np.nan, right=np.nan)
        return np.asarray(np.exp(found))


@dataclass(frozen=True, slots=True)
class Grid:
    """The same over further variables: between two measured values of the first, theirs."""

    values: FloatArray
    """Ascending."""
    inner: tuple[Measured, ...]

    def at(self, *where: Real) -> FloatArray:
        """The first variables are numbers, the last may be an array."""
        first, *rest = where
        value = float(np.asarray(first))
        above = int(np.searchsorted(self.values, value))
        if above < len(self.values) and self.values[above] == value:
            return self.inner[above].at(*rest)
        if above in (0, len(self.values)):
            return np.full(np.shape(rest[-1]), np.nan)
        low, high = self.inner[above - 1].at(*rest), self.inner[above].at(*rest)
        log_low, log_high = np.log(self.values[above - 1 : above + 1])
        share = (np.log(value) - log_low) / (log_high - log_low)
        return np.asarray(np.exp((1 - share) * np.log(low) + share * np.log(high)))


def measured(columns: Sequence[FloatArray], seconds: FloatArray) -> Measured | None:
    """Times over as many variables as there are columns, shape (points,) each; None without any.

    Of points that were measured more than once the median counts.
    """
    if not len(seconds):
        return None
    values, where, counts = np.unique(columns[0], return_inverse=True, return_counts=True)
    grouped = np.split(np.argsort(where, kind="stable"), np.cumsum(counts)[:-1])
    if len(columns) == 1:
        middle = [seconds[g[0]] if len(g) == 1 else np.median(seconds[g]) for g in grouped]
        return Curve(np.log(values), np.log(np.array(middle)))
    inner = (measured([column[g] for column in columns[1:]], seconds[g]) for g in grouped)
    return Grid(values.astype(np.float64), tuple(each for each in inner if each is not None))
