"""Where a row of a frame came from, for messages that name file, column and row."""

from typing import NoReturn

import pandas as pd

from catalog.errors import BadFile


def source_of(frame: pd.DataFrame) -> str:
    """The file or files a frame was read from; «table» for one built in memory."""
    if "source_file" not in frame or frame.empty:
        return "table"
    files = [str(name) for name in frame["source_file"].unique()]
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def refuse_row(frame: pd.DataFrame, position: int, column: str, problem: str) -> NoReturn:
    """Raise BadFile for the row at this position."""
    row = frame.iloc[position]
    file = row.get("source_file", "table")
    number = int(row.get("source_row", position + 1))
    raise BadFile(file, f"column {column!r}, row {number}: {problem}")
