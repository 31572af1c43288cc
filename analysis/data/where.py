"""Rows picked by what their columns hold: `--where gpu_type=H100`."""

from collections.abc import Sequence

import pandas as pd

from analysis.data.order import canonical, ordered, shown
from catalog.errors import BadValue, UnknownName


def where(frame: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Keep the rows that meet every `COLUMN=VALUE[,VALUE]`; values of one column are alternatives.

    Numbers are compared as numbers, layouts by their canonical names.
    """
    for text in conditions:
        name, equals, wanted = text.partition("=")
        if not equals or not wanted.strip():
            raise BadValue("--where", text, "COLUMN=VALUE, for instance gpu_type=H100")
        frame = _kept(frame, name.strip(), [each.strip() for each in wanted.split(",")])
    return frame


def _kept(frame: pd.DataFrame, name: str, wanted: Sequence[str]) -> pd.DataFrame:
    if name not in frame:
        raise UnknownName("column", name, [str(column) for column in frame])
    known = {shown(level): level for level in ordered(frame[name])}
    folded = {text.lower(): level for text, level in known.items()}
    levels = []
    for text in wanted:
        spelled = _spelled(canonical(text) if name == "strategy" else text)
        if spelled.lower() not in folded:
            raise UnknownName(name, text, list(known))
        levels.append(folded[spelled.lower()])
    return frame[frame[name].isin(levels)]


def _spelled(text: str) -> str:
    try:
        return shown(float(text))
    except ValueError:
        return text
