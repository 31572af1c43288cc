"""The tidy frame: one row a run, read from result directories and tables, every cell checked."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from analysis.directory import read_directory
from analysis.order import canonical_strategies
from analysis.place import source_of
from analysis.read import read_table
from analysis.units import check_units
from catalog.errors import BadFile, BadValue, closest
from orchestrator.record import COLUMNS


def load(*paths: str | Path) -> pd.DataFrame:
    """Read results directories and CSV or Parquet files into one frame, all verdicts included.

    Columns are the run table's: durations in seconds, latencies in ms, throughputs per second,
    NaN for what was not measured. `source_file` and `source_row` say where a row came from.
    Strategy names are the canonical ones (`hybrid` reads as `tp+ep`).
    """
    if not paths:
        raise BadValue("RESULTS", "", "a results directory, or a CSV or Parquet file")
    frames = [_read(Path(path)) for path in dict.fromkeys(map(str, paths))]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    return _ordered(_no_run_twice(frame))


def _read(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise BadFile(path, "no such file or directory")
    frame = read_directory(path) if path.is_dir() else read_table(path)
    check_units(frame)
    if "strategy" in frame:
        frame["strategy"] = canonical_strategies(frame["strategy"])
    return frame


def _no_run_twice(frame: pd.DataFrame) -> pd.DataFrame:
    """Refuse a run that two inputs share: it would count as a replicate of itself."""
    if "run_id" not in frame:
        return frame
    ids = frame["run_id"].astype(str)
    again = (ids != "") & ids.duplicated()
    if again.any():
        row = frame[again].iloc[0]
        raise BadFile(
            row["source_file"],
            f"column 'run_id', row {row['source_row']}: run {row['run_id']!r} is there already",
        )
    return frame


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    known = [name for name in COLUMNS if name in frame]
    return frame[[*known, *(name for name in frame if name not in known)]]


def require(frame: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise BadFile naming the file and the first column that is missing."""
    for name in columns:
        if name not in frame:
            near = closest(name, [str(c) for c in frame.columns])
            hint = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise BadFile(source_of(frame), f"column {name!r} is missing{hint}")
    if frame.empty:
        raise BadFile(source_of(frame), "holds no rows")
