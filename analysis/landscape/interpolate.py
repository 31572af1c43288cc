"""Points between measured ones along a technique's knob, made only when asked and marked."""

import math
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalog.errors import BadValue
from perfmodel.arrays import FloatArray

DERIVED = "derived"
MOST_POINTS = 1000
_ASK = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*([\d.,\s]+)")
_KNOB = re.compile(
    r"(?P<before>.*[(\[:])(?P<knob>\w+)=(?P<value>\d+(?:\.\d+)?)(?P<after>[)\]:+].*|)"
)


@dataclass(frozen=True, slots=True)
class Knob:
    """A knob and the values to estimate the metrics at."""

    name: str
    at: tuple[float, ...]


def parse_knob(text: str) -> Knob:
    """Read `expert=3,5`."""
    match = _ASK.fullmatch(text)
    try:
        values = tuple(float(part) for part in match[2].split(",")) if match else ()
    except ValueError:
        values = ()
    if match is None or not 0 < len(values) <= MOST_POINTS:
        raise BadValue("interpolation", text, "KNOB=VALUE[,VALUE…]: expert=3,5 or mem=0.6")
    return Knob(match[1], values)


def interpolated(frame: pd.DataFrame, knob: Knob) -> pd.DataFrame:
    """Add a row at each value asked for, linear between the two measured neighbours.

    The knob is written in a text column as `Technique (knob=2)` or `technique:knob=2`. A metric
    that a neighbour lacks stays unknown; nothing is guessed beyond the measured ends.
    """
    if DERIVED not in frame:
        frame = frame.assign(**{DERIVED: ""})
    made = [row for family in _families(frame, knob.name) for row in _between(frame, family, knob)]
    if not made:
        raise BadValue(f"values of {knob.name}", list(knob.at), _measured(frame, knob.name))
    return pd.concat([frame, pd.DataFrame(made, columns=frame.columns)], ignore_index=True)


@dataclass(frozen=True, slots=True)
class _Family:
    """Rows of one technique that differ in the knob, in its order."""

    column: str
    before: str
    after: str
    rows: tuple[int, ...]
    at: FloatArray


def _families(frame: pd.DataFrame, name: str) -> list[_Family]:
    found: dict[tuple[str, str, str], list[tuple[float, int]]] = {}
    for column in (str(c) for c in frame if not pd.api.types.is_numeric_dtype(frame[c])):
        for row, text in enumerate(frame[column].astype(str)):
            match = _KNOB.fullmatch(text)
            if match and match["knob"] == name:
                key = (column, match["before"], match["after"])
                found.setdefault(key, []).append((float(match["value"]), row))
    return [
        _Family(*key, tuple(row for _, row in sorted(at)), np.array(sorted(v for v, _ in at)))
        for key, at in found.items()
    ]


def _between(frame: pd.DataFrame, family: _Family, knob: Knob) -> list[dict[str, object]]:
    rows = []
    for value in knob.at:
        after = int(np.searchsorted(family.at, value))
        inside = 0 < after < len(family.at) and not math.isclose(family.at[after], value)
        if inside:
            share = (value - family.at[after - 1]) / (family.at[after] - family.at[after - 1])
            low, high = (frame.iloc[family.rows[i]] for i in (after - 1, after))
            rows.append(_row(family, knob.name, value, float(share), low, high))
    return rows


def _row(
    family: _Family, knob: str, value: float, share: float, low: pd.Series, high: pd.Series
) -> dict[str, object]:
    row: dict[str, object] = {}
    for name in low.index:
        a, b = low[name], high[name]
        numeric = isinstance(a, float) and isinstance(b, float)
        row[str(name)] = a + share * (b - a) if numeric else a if a == b else ""
    row[family.column] = f"{family.before}{knob}={value:g}{family.after}"
    row[DERIVED] = f"interpolated between {low[family.column]} and {high[family.column]}"
    return row


def _measured(frame: pd.DataFrame, name: str) -> str:
    families = _families(frame, name)
    if not families:
        return f"a knob of this landscape, as (KNOB=VALUE) or :KNOB=VALUE; none is called {name!r}"
    return "between " + " or ".join(f"{f.at[0]:g} and {f.at[-1]:g}" for f in families)
