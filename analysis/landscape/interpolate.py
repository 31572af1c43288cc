"""Points between measured ones along a technique's knob, made only when asked and marked."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from analysis.data.conditions import cells, condition_columns
from analysis.data.source_location import refuse_row
from analysis.landscape.read import counts
from catalog.errors import BadValue
from orchestrator.results.quantities import role_of
from perfmodel.arrays import FloatArray

DERIVED = "derived"
MOST_POINTS = 1000
_ASK = re.compile(r"\s*([A-Za-z_]\w*)\s*=([\d.,\s]+)")
_KNOB = re.compile(
    r"(?P<before>.*[(\[:])(?P<knob>\w+)=(?P<value>\d+(?:\.\d+)?)(?P<after>[)\]:+].*|)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class KnobValues:
    """A knob and the values to estimate the metrics at."""

    name: str
    at: tuple[float, ...]


def parse_knob(text: str) -> KnobValues:
    """Read `expert=3,5`."""
    match = _ASK.fullmatch(text)
    try:
        values = tuple(float(part) for part in match[2].split(",")) if match else ()
    except ValueError:
        values = ()
    if match is None or not 0 < len(values) <= MOST_POINTS:
        raise BadValue("interpolation", text, "KNOB=VALUE[,VALUE…]: expert=3,5 or mem=0.6")
    return KnobValues(match[1], values)


def interpolated(
    frame: pd.DataFrame, knob: KnobValues, *, results: Sequence[str] = ()
) -> pd.DataFrame:
    """Add a row at each value asked for, linear between the two measured neighbours.

    The knob is written in a text column as `Technique (knob=2)` or `technique:knob=2`. A metric
    that a neighbour lacks stays unknown; nothing is guessed beyond the measured ends, nor between
    rows of different conditions. `results` are columns that are known to be no conditions.
    """
    if DERIVED not in frame:
        frame = frame.assign(**{DERIVED: ""})
    families = _families(frame, knob.name, results)
    made = [row for family in families for row in _between(frame, family, knob)]
    if not made:
        raise BadValue(f"values of {knob.name}", list(knob.at), _measured(families, knob.name))
    return pd.concat([frame, pd.DataFrame(made, columns=frame.columns)], ignore_index=True)


@dataclass(frozen=True, slots=True)
class _Family:
    """Rows of one technique and one condition that differ in the knob, in its order."""

    column: str
    before: str
    after: str
    rows: tuple[int, ...]
    at: FloatArray


def _families(frame: pd.DataFrame, name: str, results: Sequence[str]) -> list[_Family]:
    counted = counts(frame)
    found: dict[tuple[str, str, str, int], list[tuple[float, int]]] = {}
    for column in (str(c) for c in frame if _may_name_a_knob(frame, str(c))):
        others = cells(frame, _apart_by(frame, (column, *results)))
        for row, text in enumerate(frame[column].astype(str)):
            match = _KNOB.fullmatch(text)
            if match and match["knob"] == name and counted[row]:
                key = (column, match["before"], match["after"], int(others[row]))
                found.setdefault(key, []).append((float(match["value"]), row))
    for at in found.values():
        _refuse_twice(frame, name, sorted(at))
    return [
        _Family(*key[:3], tuple(row for _, row in sorted(at)), np.array(sorted(v for v, _ in at)))
        for key, at in found.items()
    ]


def _apart_by(frame: pd.DataFrame, but: Sequence[str]) -> list[str]:
    """What else makes a row's condition: two GPUs have nothing between them.

    Whole numbers that nobody knows and that do not come back are taken as measured here.
    """
    return [
        name
        for name in condition_columns(frame, but=but)
        if role_of(name) == "condition"
        or not pd.api.types.is_numeric_dtype(frame[name])
        or frame[name].nunique() * 2 <= len(frame)
    ]


def _refuse_twice(frame: pd.DataFrame, name: str, at: Sequence[tuple[float, int]]) -> None:
    for (value, row), (after, _) in pairwise(at):
        if value == after:
            problem = f"two rows have {name}={value:g}: choose between them with --where"
            refuse_row(frame, row, name, problem)


def _may_name_a_knob(frame: pd.DataFrame, column: str) -> bool:
    is_text = not pd.api.types.is_numeric_dtype(frame[column])
    return is_text and role_of(column) != "record" and column != DERIVED


def _between(frame: pd.DataFrame, family: _Family, knob: KnobValues) -> list[dict[str, object]]:
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
    for name in map(str, low.index):
        a, b = low[name], high[name]
        if role_of(name) == "record":
            row[name] = None  # no run stands behind this row
        elif isinstance(a, float) and isinstance(b, float):
            row[name] = a + share * (b - a)
        else:
            row[name] = a if a == b else ""
    row[family.column] = f"{family.before}{knob}={value:g}{family.after}"
    row[DERIVED] = f"interpolated between {low[family.column]} and {high[family.column]}"
    if "provenance" in row:
        row["provenance"] = "interpolated"
    return row


def _measured(families: Sequence[_Family], name: str) -> str:
    if not families:
        return f"a knob of this landscape, as (KNOB=VALUE) or :KNOB=VALUE; none is called {name!r}"
    ends = [f"{f.at[0]:g} and {f.at[-1]:g}" for f in families if len(f.at) > 1]
    if not ends:
        return f"rows that differ in {name} alone: none of those with it do"
    return "between " + " or ".join(dict.fromkeys(ends))
