"""Constraints as a user writes them: a column, a comparison, a number with or without a unit."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.landscape.units import as_binary, in_column_unit, unit_of, written
from catalog.errors import BadValue
from perfmodel.arrays import FloatArray

ALLOWED = (
    "COLUMN <=|<|>=|>|== NUMBER UNIT, joined by commas or `and`: gpu_memory_mib <= 16 GiB "
    "(no unit where the column has none)"
)

_TERM = re.compile(r"\s*([^\s<>=][^<>=]*+)(<=|>=|==|=|<|>)\s*([^\s<>=][^<>=]*+)")
_NUMBER = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*(\D.*)?")
_JOIN = re.compile(r"(?<!\s)\s++and\s++|,|&&|;", re.IGNORECASE)
_COMPARE: dict[str, Callable[[FloatArray, float], "np.ndarray[tuple[int], np.dtype[np.bool_]]"]] = {
    "<=": lambda values, limit: values <= limit,
    "<": lambda values, limit: values < limit,
    ">=": lambda values, limit: values >= limit,
    ">": lambda values, limit: values > limit,
    "==": lambda values, limit: values == limit,
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """One limit, in the column's own unit."""

    column: str
    op: str
    limit: float
    text: str
    binary: "Constraint | None" = None
    """The same with `16 GB` read as 16 GiB; None where nothing is open."""

    @property
    def upper(self) -> bool:
        return self.op in ("<=", "<")

    @property
    def relaxable(self) -> bool:
        return self.op != "=="

    def holds(self, values: FloatArray) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """True where the limit is kept; an unknown value (NaN) never is."""
        return _COMPARE[self.op](values, self.limit)

    def excess(self, values: FloatArray) -> FloatArray:
        """How far beyond the limit, as a share of it; 0 where it is kept, NaN where unknown."""
        if not self.relaxable:
            return np.where(np.isnan(values), np.nan, np.where(self.holds(values), 0.0, np.inf))
        beyond = values - self.limit if self.upper else self.limit - values
        with np.errstate(over="ignore"):
            share = np.maximum(beyond, 0.0) / (abs(self.limit) or 1.0)
        share = np.minimum(share, np.finfo(float).max)
        # A value that sits on a strict limit breaks it, by the smallest step there is.
        return np.where((beyond == 0) & ~self.holds(values), np.finfo(float).eps, share)

    def relaxed_to(self, value: float) -> str:
        """A limit that can be typed and admits this value: what is rounded, is so outwards."""
        step = 10.0 ** (math.floor(math.log10(abs(value))) - 5) if value else 1.0
        admits = step * (math.ceil(value / step) if self.upper else math.floor(value / step))
        return f"{self.column} {'<=' if self.upper else '>='} {with_unit(admits, self.column)}"


def with_unit(value: float, column: str) -> str:
    """A value of a column with its unit, as a limit is written."""
    unit = unit_of(column)
    return f"{value:.6g} {written(unit.of)}" if unit and unit.has_others else f"{value:.6g}"


def parse_constraints(text: str) -> tuple[Constraint, ...]:
    """Read `gpu_memory_mib <= 16384, tpot_s < 500 ms`."""
    terms = [term for term in _JOIN.split(text) if term.strip()]
    if not terms:
        raise BadValue("constraint", text, ALLOWED)
    return tuple(_constraint(term, text) for term in terms)


def limited_columns(text: str) -> list[str]:
    """The columns that constraints name, whatever else of them can be read."""
    matches = [_TERM.fullmatch(term) for term in _JOIN.split(text)]
    return [match[1].rstrip() for match in matches if match]


def _constraint(term: str, whole: str) -> Constraint:
    match = _TERM.fullmatch(term)
    number = _NUMBER.fullmatch(match[3].rstrip()) if match else None
    if match is None or number is None:
        raise BadValue("constraint", whole, ALLOWED)
    column, op = match[1].rstrip(), "==" if match[2] == "=" else match[2]
    value, unit = float(number[1]), (number[2] or "").strip()
    limit = in_column_unit(value, unit, column)
    if not math.isfinite(limit):
        raise BadValue("constraint", whole, "a finite limit")
    other, binary = as_binary(unit, column), None
    if other is not None:
        said = f"{column} {match[2]} {number[1]} {other}"
        binary = Constraint(column, op, in_column_unit(value, other, column), said)
    return Constraint(column, op, limit, " ".join(term.split()), binary)
