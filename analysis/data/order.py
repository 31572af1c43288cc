"""The order and the names of levels: the same in every table, plot and legend."""

from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING

from catalog.errors import InputError
from strategies import STANDARD, parse_layout

if TYPE_CHECKING:
    import pandas as pd

WORKLOADS = ("decode-heavy", "prefill-heavy", "balanced")
_FIRST = (*(name for name in ("tp", "ep", "tp+ep", "single") if name in STANDARD),)


def canonical_strategies(column: "pd.Series") -> "pd.Series":
    """Rename layouts that have another spelling; what does not parse stays as it is."""
    return column.map({name: canonical(str(name)) for name in column.unique()})


def canonical(name: str) -> str:
    """The shortest spelling of a layout; the name itself where it is none."""
    try:
        return parse_layout(name).name
    except InputError:
        return name


def ordered(levels: Iterable[object]) -> list[object]:
    """Sort levels without NaN: numbers by size, then strategies and workloads as in the field."""
    return sorted({level for level in levels if not _missing(level)}, key=rank)


def _missing(level: object) -> bool:
    return isinstance(level, float) and level != level


def rank(level: object) -> tuple[int, float, str]:
    """Sort key of a level."""
    if isinstance(level, Real):  # numpy's, too
        return (0, float(level), "")
    text = str(level)
    for first in (_FIRST, WORKLOADS):
        if text in first:
            return (1, float(first.index(text)), "")
    return (2, 0.0, text.lower())


def shown(level: object) -> str:
    """A level as text: whole numbers without a decimal point."""
    if level is None or _missing(level):
        return "none"
    if isinstance(level, float) and level.is_integer():
        return str(int(level))
    return f"{level:g}" if isinstance(level, float) else str(level)
