"""Run tables of results directories."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import pandas as pd

from analysis.data.read import ColumnType, column_kinds, typed
from catalog.errors import BadFile
from orchestrator.results.given import given_as
from orchestrator.results.record import COLUMNS, ColumnValue, Row
from orchestrator.table import run_rows

NUMBERS = {int, float, type(None)}
TEXTS = {str, type(None)}
FLAGS = {bool, type(None)}
NOTHING = {type(None)}


def read_directory(path: Path) -> pd.DataFrame:
    """Every published run, and the last attempt of those that never finished, as rows."""
    return directory_frame(run_rows(path), path)


def directory_frame(rows: Sequence[Row], path: Path) -> pd.DataFrame:
    """The rows of a results directory as a frame that says where each came from."""
    if not rows:
        raise BadFile(path, "a results directory without a finished run")
    frame = rows_frame(rows, str(path))
    return frame.assign(source_file=str(given_as(path)), source_row=range(1, len(frame) + 1))


def rows_frame(rows: Sequence[Mapping[str, ColumnValue]], where: str) -> pd.DataFrame:
    """Rows as a frame with every column of the run table; missing numbers are NaN."""
    names = dict.fromkeys(chain(COLUMNS, chain.from_iterable(rows)))
    kinds = column_kinds()
    # Row by row: of ten thousand, a look at each for every column would leave the cache each time.
    columns = zip(*([*map(row.get, names)] for row in rows), strict=True)
    return pd.DataFrame(
        {
            name: _column(name, kinds.get(name), values, where)
            for name, values in zip(names, columns, strict=True)
        }
    )


def _column(
    name: str, kind: ColumnType | None, values: Sequence[ColumnValue], where: str
) -> pd.Series:
    """A column as `typed` reads it: numbers without the detour by their text, texts once each."""
    types = set(map(type, values))
    if types <= NUMBERS and (kind == "number" or (kind is None and types != NOTHING)):
        return typed(pd.Series(values, name=name, dtype=float), where)
    if (kind in ("text", None) and types <= TEXTS) or (kind == "flag" and types <= FLAGS):
        each = dict.fromkeys(values)
        if 2 * len(each) < len(values):
            told = typed(pd.Series(list(each), name=name, dtype=object), where)
            places = {value: place for place, value in enumerate(each)}
            return told.take([places[value] for value in values]).reset_index(drop=True)
    return typed(pd.Series(values, name=name, dtype=object), where)
