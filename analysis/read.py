"""Run tables from files: CSV and Parquet into checked columns, with the place of every bad cell."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import BadFile
from orchestrator.record import RunRecord

Kind = Literal["text", "number", "flag"]

MISSING = frozenset({"", "na", "nan", "null", "none", "n/a"})
FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
# A text cell that a spreadsheet would take for a formula is stored behind an apostrophe.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def column_kinds() -> dict[str, Kind]:
    """Kind of each column of the run table, read off the record itself."""
    kinds: dict[str, Kind] = {}
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
        way = "results of other tools become a run table with `moeserve import`"
        raise BadFile(path, f"not a CSV or Parquet file; {way}")
    if raw.empty:
        raise BadFile(path, "holds no rows")
    frame = pd.DataFrame({str(name): typed(raw[name], str(path)) for name in raw.columns})
    return frame.assign(source_file=str(path), source_row=np.arange(1, len(frame) + 1))


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        # A ParquetFile takes the one file: a path under `key=value` folders adds no columns.
        with pq.ParquetFile(path) as file:
            frame: pd.DataFrame = file.read().to_pandas()
            return frame
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise BadFile(path, f"not a readable Parquet file ({_first_line(error)})") from None


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        _check_header(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError:
        raise BadFile(path, "is empty") from None
    except (pd.errors.ParserError, UnicodeDecodeError, csv.Error, OSError) as error:
        raise BadFile(path, f"not a readable CSV file ({_first_line(error)})") from None


def _check_header(path: Path) -> None:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        header = next(csv.reader(lines), [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise BadFile(path, f"column {twice[0]!r} is there twice")


def typed(column: pd.Series, where: str) -> pd.Series:
    """Give a column its kind: numbers as floats with NaN for missing, flags, and text."""
    kind = column_kinds().get(str(column.name))
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype(float) if kind != "text" else column.astype(str)
    if kind == "number":
        return _numbers(column, where)
    if kind == "flag":
        return _flags(column, where)
    return _texts(column) if kind == "text" else _guessed(column)


def _numbers(column: pd.Series, where: str) -> pd.Series:
    text = _texts(column)
    missing = text.str.lower().isin(MISSING)
    numbers = pd.to_numeric(text.where(~missing), errors="coerce").astype(float)
    _refuse(where, column, ~missing & numbers.isna(), "is not a number (write it without a unit)")
    _refuse(where, column, np.isinf(numbers), "is not a finite number")
    return numbers


def _flags(column: pd.Series, where: str) -> pd.Series:
    text = _texts(column).str.lower()
    _refuse(where, column, ~text.isin([*FLAGS, *MISSING]), "is neither true nor false")
    return text.map(FLAGS)


def _texts(column: pd.Series) -> pd.Series:
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    hidden = text.str.startswith("'") & text.str[1:].str.startswith(FORMULA_STARTS)
    return text.where(~hidden, text.str[1:])


def _guessed(column: pd.Series) -> pd.Series:
    """Type a column that the run table does not define: numbers if every cell is one."""
    text = _texts(column)
    missing = text.str.lower().isin(MISSING)
    numbers = pd.to_numeric(text.where(~missing), errors="coerce").astype(float)
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
