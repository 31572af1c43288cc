"""How a row of a landscape is called: by the columns that tell it from the others."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.data.conditions import LAYOUT, cells, condition_columns, mixed_columns
from analysis.data.read import is_empty
from analysis.landscape.canonical import PLACE
from analysis.landscape.replicates import PARTLY_KNOWN
from orchestrator.results.condition import NAME
from orchestrator.results.record import ColumnValue

LABELS = (
    "method", "model", "strategy", "technique", "gpu_type", "workload", "max_concurrency",
    "request_rate",
)  # fmt: skip
SAID_ELSEWHERE = ("source", "num_prompts", "derived", PARTLY_KNOWN)
"""A file's name and a count that follows the load tell no reader what was chosen."""


def labels_of(
    frame: pd.DataFrame, asked: Sequence[str], more: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns that describe a row besides those asked about, and those that tell rows apart.

    `more` are columns that keep rows apart though nobody knows what they are.
    """
    taken = (*asked, *PLACE)
    known = [name for name in LABELS if name in frame and not is_empty(frame[name])]
    # A layout's name says its degrees, where it is there and tells them.
    layout = mixed_columns(frame, ["strategy"]) if "strategy" in known else LAYOUT
    left_out = {*taken, *known, *SAID_ELSEWHERE, *(set(LAYOUT) - set(layout))}
    own = [*condition_columns(frame, but=left_out), *(name for name in more if name in frame)]
    texts = [str(c) for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    names = [*(name for name in known if name not in taken), *own]
    labels = tuple(dict.fromkeys(names or [name for name in texts if name not in taken][:1]))
    # Of a table cut to fewer columns the hash alone may say that two rows differ.
    named = _telling(frame, [*labels, NAME] if NAME in frame else labels)
    return (*labels, *(name for name in named if name not in labels)), named


def _telling(frame: pd.DataFrame, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels that tell rows apart which those before them do not; all, where none does."""
    found: list[str] = []
    here = np.zeros(len(frame), dtype=np.int64)
    for label in labels:
        own = cells(frame, [label])
        split = np.unique(here * (int(own.max(initial=0)) + 1) + own, return_inverse=True)[1]
        if split.max(initial=0) > here.max(initial=0):
            found.append(label)
            here = split
        if here.max(initial=0) == len(frame) - 1:
            break
    return tuple(found or labels)


def name_of(frame: pd.DataFrame, row: int, labels: Sequence[str]) -> str:
    """What some labels say of a row; where they say nothing, its place."""
    said = [text for label in labels if (text := _said(frame, row, label))]
    number = frame["source_row"].iloc[row] if "source_row" in frame else row + 1
    return ", ".join(said) or f"row {number:g}"


def _said(frame: pd.DataFrame, row: int, label: str) -> str:
    (value,) = plain(frame[label].iloc[[row]])
    if value is None or value == "":
        return ""
    return f"{label} {value}" if isinstance(value, float | int) else str(value)


def plain(column: pd.Series) -> list[ColumnValue]:
    """A column as plain values, None where unknown."""
    if pd.api.types.is_float_dtype(column):
        return [_number(value) for value in column.tolist()]
    return [None if value is None or value != value else value for value in column.tolist()]


def _number(value: float) -> ColumnValue:
    if not math.isfinite(value):
        return None if value != value else str(value)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
