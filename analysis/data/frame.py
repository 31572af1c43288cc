"""The tidy frame: one row a run, read from result directories and tables, every cell checked."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from analysis.data.directory import directory_frame, read_directory
from analysis.data.likeness import said_missing
from analysis.data.order import canonical_strategies
from analysis.data.own_names import NO_OWN_NAMES, OwnNames
from analysis.data.read import read_table, refuse_beyond
from analysis.data.source_location import source_of
from analysis.data.units import check_units
from catalog.errors import BadFile, BadValue
from orchestrator.results.archive import opened
from orchestrator.results.record import COLUMNS, Row


def load(*paths: str | Path, own: OwnNames = NO_OWN_NAMES) -> pd.DataFrame:
    """Read results directories and CSV or Parquet files into one frame, all verdicts included.

    Columns are the run table's: durations in seconds, latencies in ms, throughputs per second,
    NaN for what was not measured. `source_file` and `source_row` say where a row came from.
    Strategy names are the canonical ones (`hybrid` reads as `tp+ep`). `own` says which columns
    have other names, and what is the same in all rows.
    """
    if not paths:
        raise BadValue("RESULTS", "", "a results directory, or a CSV or Parquet file")
    read = {path: _read(Path(path)) for path in dict.fromkeys(map(str, paths))}
    own.check(str(name) for frame in read.values() for name in frame)
    return _tidy([own.applied(frame, path) for path, frame in read.items()])


def load_rows(rows: Sequence[Row], path: Path) -> pd.DataFrame:
    """The frame that `load` makes of a results directory, of rows that were read from it."""
    return _tidy([directory_frame(rows, path)])


def _tidy(read: Iterable[pd.DataFrame]) -> pd.DataFrame:
    frames = [_checked(frame) for frame in read]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    return _ordered(_no_row_twice(_no_run_twice(frame)))


def _read(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise BadFile(path, "no such file or directory")
    path = opened(path)
    return read_directory(path) if path.is_dir() else read_table(path)


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    check_units(frame)
    if "strategy" in frame:
        frame["strategy"] = canonical_strategies(frame["strategy"])
    if "verdict" in frame:
        frame["verdict"] = frame["verdict"].astype(str).str.lower()
    return frame


def _no_run_twice(frame: pd.DataFrame) -> pd.DataFrame:
    """Refuse a run that two inputs share: it would count as a replicate of itself."""
    if "run_id" not in frame:
        return frame
    ids = _ids(frame)
    again = (ids != "") & ids.duplicated()
    if again.any():
        row = frame[again].iloc[0]
        raise BadFile(
            row["source_file"],
            f"column 'run_id', row {row['source_row']}: run {row['run_id']!r} is there already",
        )
    return frame


def _ids(frame: pd.DataFrame) -> pd.Series:
    """Ids as text; none where one of several inputs has no such column."""
    return frame["run_id"].fillna("").astype(str)


def _no_row_twice(frame: pd.DataFrame) -> pd.DataFrame:
    """Refuse a numbered run without an id that stands there twice, as in a table and its copy.

    Runs that carry no number may well agree: nothing pairs or numbers those.
    """
    numbers = [name for name in ("block", "replicate") if name in frame]
    own = [name for name in frame if name not in ("source_file", "source_row")]
    alone = frame[numbers].notna().any(axis=1)
    if "run_id" in frame:
        alone &= _ids(frame) == ""
    again = frame.duplicated(subset=own) & alone if alone.any() else alone
    if again.any():
        row = frame[again].iloc[0]
        raise BadFile(
            row["source_file"],
            f"row {row['source_row']} is there already, its number ({', '.join(numbers)}) and all "
            "it measured alike: it would count twice; leave it out, or tell the two apart in a "
            "column 'run_id'",
        )
    return frame


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    known = [name for name in COLUMNS if name in frame]
    return frame[[*known, *(name for name in frame if name not in known)]]


def require(frame: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise BadFile naming the file and every column that is missing, with what may be meant."""
    columns = tuple(dict.fromkeys(columns))
    missing = [name for name in columns if name not in frame]
    if missing:
        own = [str(name) for name in frame if name not in ("source_file", "source_row")]
        raise BadFile(source_of(frame), said_missing(missing, own))
    if frame.empty:
        raise BadFile(source_of(frame), "holds no rows")
    for name in columns:
        refuse_beyond(frame, name, source_of(frame))
