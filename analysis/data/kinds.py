"""Kinds of columns: whole numbers and times for people, plain floats for what computes."""

from typing import get_args, get_type_hints

import pandas as pd

from analysis.data.read import column_kinds
from orchestrator.results.record import RunRecord

STARTED = "started_at"


def counts() -> tuple[str, ...]:
    """Columns of the run table that hold whole numbers."""
    hints = get_type_hints(RunRecord)
    return tuple(n for n, hint in hints.items() if n != "extra" and int in (hint, *get_args(hint)))


def as_counted(frame: pd.DataFrame) -> pd.DataFrame:
    """Counts as integers, nullable ones where some are missing; `started_at` as a time in UTC.

    A column that holds another thing stays as it is.
    """
    made = {name: _whole(frame[name]) for name in counts() if name in frame}
    if STARTED in frame:
        made[STARTED] = _times(frame[STARTED])
    return frame.assign(**made)


def as_floats(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as the analysis reads it from files: the inverse of `as_counted`."""
    kinds = column_kinds()
    made = {}
    for name in map(str, frame):
        if kinds.get(name) == "number" and pd.api.types.is_numeric_dtype(frame[name]):
            made[name] = frame[name].astype("Float64").astype(float)
    if STARTED in frame and pd.api.types.is_datetime64_any_dtype(frame[STARTED]):
        made[STARTED] = frame[STARTED].map(lambda at: "" if pd.isna(at) else at.isoformat())
    return frame.assign(**made)


def _whole(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_float_dtype(column):
        return column
    known = column.dropna()
    if not (known % 1 == 0).all() or known.empty:
        return column
    return column.astype("int64" if len(known) == len(column) else "Int64")


def _times(column: pd.Series) -> pd.Series:
    told = column.astype(str).str.strip()
    times = pd.to_datetime(told, errors="coerce", utc=True, format="ISO8601")
    return column if (times.isna() & (told != "")).any() else times
