"""Run tables from files: CSV and Parquet into checked columns, with the place of every bad cell."""

import csv
import functools
import io
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Literal, get_args, get_type_hints

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.data.parquet import MOST_ROWS, check_columns, read_parquet
from catalog.bounded import MEASURED
from catalog.csv_text import HIDDEN_FORMULA
from catalog.errors import BadFile
from catalog.named_file import check_named, open_named
from orchestrator.results.record import RunRecord

ColumnType = Literal["text", "number", "flag"]

MOST_CSV_BYTES = 2**29
LARGEST = 1e100
"""A number of a column that the run table does not know and an analysis uses: it has a square."""
DAMAGED = (
    OSError,
    ValueError,
    ArithmeticError,
    MemoryError,
    LookupError,
    TypeError,
    pa.ArrowException,
)
"""What libraries raise of a file's content; their own errors are kinds of these."""
MISSING = frozenset({"", "na", "nan", "null", "none", "n/a"})
NO_NUMBER = "is not a number (write it without a unit or a comma, decimals behind a point)"
NAMELESS = re.compile(r"(?:Unnamed: \d+|level_0)?")
UNSIGNED = re.compile(
    r"^(?:total_|num_|max_concurrency|request_rate|completed|failed|duration|tp$|pp$|dp$)"
    r"|throughput|goodput|^(?:mean|median|std|p90|p95|p99)_(?:ttft|tpot|itl|e2el)_ms$"
)
"""Columns of the run table that cannot be below zero, whatever was measured."""
FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@functools.cache
def column_kinds() -> Mapping[str, ColumnType]:
    """Kind of each column of the run table, read off the record itself."""
    kinds: dict[str, ColumnType] = {}
    for name, hint in get_type_hints(RunRecord).items():
        types = set(get_args(hint)) | {hint}
        if name == "extra":
            continue
        is_number = bool(types & {int, float})
        kinds[name] = "flag" if bool in types else "number" if is_number else "text"
    return kinds


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file with run-table columns; other columns are kept as they are."""
    if path.suffix.lower() in {".parquet", ".pq"}:
        raw = _read_parquet(path)
    elif path.suffix.lower() in {".csv", ".txt", ""}:
        raw = _read_csv(path)
    else:
        way = "tables end in .csv, .txt, .parquet or .pq; `moeserve import` reads what tools write"
        raise BadFile(path, f"not a CSV or Parquet file; {way}")
    if raw.empty:
        raise BadFile(path, "holds no rows")
    raw = raw.rename(columns=_heading)
    check_columns(path, list(map(str, raw.columns)))
    raw = _without_row_numbers(raw)
    frame = pd.DataFrame({name: typed(raw[name], str(path)) for name in raw.columns})
    return frame.assign(source_file=str(path), source_row=np.arange(1, len(frame) + 1))


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return read_parquet(check_named(path))
    except BadFile:
        raise
    except DAMAGED as error:
        raise BadFile(path, f"not a readable Parquet file ({_first_line(error)})") from None


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        with open_named(path, "table", piped=True) as file:
            # A pipe gives its bytes once, and they are read twice: the header first.
            content = file if file.seekable() else io.BytesIO(file.read(MOST_CSV_BYTES + 1))
            frame = _csv_frame(path, content)
    except pd.errors.EmptyDataError:
        raise BadFile(path, "is empty") from None
    except BadFile:
        raise
    except pd.errors.ParserWarning:
        raise BadFile(path, "a row has more cells than the header") from None
    except UnicodeDecodeError:
        raise BadFile(path, "is no UTF-8 text: save it as CSV in UTF-8") from None
    except (*DAMAGED, csv.Error) as error:
        raise BadFile(path, f"not a readable CSV file ({_first_line(error)})") from None
    if len(frame) > MOST_ROWS:
        raise BadFile(path, f"a table has at most {MOST_ROWS:,} rows")
    return frame


def _csv_frame(path: Path, content: BinaryIO) -> pd.DataFrame:
    if content.seek(0, io.SEEK_END) > MOST_CSV_BYTES:
        raise BadFile(path, f"larger than {MOST_CSV_BYTES:,} bytes")
    content.seek(0)
    header = io.TextIOWrapper(content, encoding="utf-8-sig", newline="")
    names = [name.strip() for name in next(csv.reader(header), [])]
    header.detach()
    mark = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), "")
    if mark:
        raise BadFile(path, f"has {mark!r} between its cells: save it with commas there instead")
    check_columns(path, [name for name in names if name])
    content.seek(0)
    with warnings.catch_warnings():
        # Rows that are longer than the header: else their first cells become the names of rows.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            content,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            nrows=MOST_ROWS + 1,
            index_col=False,
        )
    return _without_empty_rows(frame)


def _without_empty_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop rows of nothing but separators, as a spreadsheet writes them behind its last row."""
    empty = _is_nothing(frame.iloc[:, 0])
    if not empty.any():
        return frame
    empty &= frame[empty].apply(_is_nothing).all(axis=1).reindex(frame.index, fill_value=False)
    return frame[~empty].reset_index(drop=True)


def _is_nothing(column: pd.Series) -> pd.Series:
    return column.isna() | (column.str.strip() == "")


def _without_row_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop the numbers of rows that pandas writes beside a table as a column without a name."""
    nameless = [name for name in frame.columns.map(str) if NAMELESS.fullmatch(name)]
    return frame.drop(columns=[name for name in nameless if _counts(frame[name])])


def _counts(column: pd.Series) -> bool:
    numbers = pd.to_numeric(column, errors="coerce")
    return bool(numbers.notna().all() and (numbers.diff().iloc[1:] >= 1).all())


def _heading(name: object) -> str:
    text = str(name).strip()
    return text[1:] if HIDDEN_FORMULA.match(text) else text


def typed(column: pd.Series, where: str) -> pd.Series:
    """Give a column its kind: numbers as floats with NaN for missing, flags, and text."""
    kind = column_kinds().get(str(column.name))
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.astype(float)
        return (
            column.astype(str) if kind == "text" else _checked(numbers, where) if kind else numbers
        )
    if kind == "number":
        return _numbers(column, where)
    if kind == "flag":
        return _flags(column, where)
    return _texts(column) if kind == "text" else _guessed(column)


def _numbers(column: pd.Series, where: str) -> pd.Series:
    text = _texts(column)
    missing = text.str.lower().isin(MISSING)
    numbers = _parsed(text.where(~missing))
    _refuse(where, column, ~missing & numbers.isna(), NO_NUMBER)
    return _checked(numbers, where)


def _parsed(text: pd.Series) -> pd.Series:
    """Numbers to the last bit, NaN where a text is none: pandas before 3.1 reads near ones."""
    numbers = pd.to_numeric(text, errors="coerce").astype(float)
    known = numbers.notna()
    numbers[known] = text[known].astype(float)
    return numbers


def _checked(numbers: pd.Series, where: str) -> pd.Series:
    """Refuse numbers whose sums or squares are none; what the run table counts is not negative."""
    _refuse(where, numbers, np.isinf(numbers), "is not a finite number")
    _refuse(where, numbers, numbers.abs() > MEASURED.most, f"is above {MEASURED.most:g}")
    if UNSIGNED.search(str(numbers.name)):
        _refuse(where, numbers, numbers < 0, "is below zero")
    return numbers


def _flags(column: pd.Series, where: str) -> pd.Series:
    text = _texts(column).str.lower()
    _refuse(where, column, ~text.isin([*FLAGS, *MISSING]), "is neither true nor false")
    return text.map(FLAGS)


def _texts(column: pd.Series) -> pd.Series:
    cells = zip(column.astype(object), column.isna(), strict=True)
    texts = ["" if missing else _text(cell) for cell, missing in cells]
    return pd.Series(texts, index=column.index, name=column.name, dtype=str)


def _text(cell: object) -> str:
    text = str(cell).strip()
    return text[1:].strip() if HIDDEN_FORMULA.match(text) else text


def is_empty(column: pd.Series) -> bool:
    """Whether no cell of a column says anything."""
    if pd.api.types.is_numeric_dtype(column):
        return bool(column.isna().all())
    return bool((column.isna() | _texts(column).str.lower().isin(MISSING)).all())


def _guessed(column: pd.Series) -> pd.Series:
    """Type a column that the run table does not define: numbers if every cell is one."""
    text = _texts(column)
    missing = text.str.lower().isin(MISSING)
    numbers = _parsed(text.where(~missing))
    is_number = bool((numbers.notna() | missing).all() and not missing.all())
    return numbers if is_number else text


def _refuse(where: str, column: pd.Series, bad: Iterable[bool], problem: str) -> None:
    rows = np.flatnonzero(np.asarray(bad))
    if rows.size:
        first = int(rows[0])
        more = f" (and {rows.size - 1} more)" if rows.size > 1 else ""
        cell = str(column.iloc[first])[:60]
        raise BadFile(where, f"column {column.name!r}, row {first + 1}: {cell!r} {problem}{more}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def refuse_beyond(frame: pd.DataFrame, name: str, where: str) -> None:
    """Refuse a column that an analysis is to compute with if a square of it is no number."""
    column = frame[name]
    if pd.api.types.is_float_dtype(column):
        beyond = np.isfinite(column) & (column.abs() > LARGEST)
        _refuse(where, column, beyond, f"is above {LARGEST:g}")
