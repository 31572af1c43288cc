"""Run tables of results directories."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis.data.read import typed
from catalog.errors import BadFile
from orchestrator.results.given import given_as
from orchestrator.results.record import COLUMNS, ColumnValue
from orchestrator.table import run_rows


def read_directory(path: Path) -> pd.DataFrame:
    """Every published run, and the last attempt of those that never finished, as rows."""
    rows = run_rows(path)
    if not rows:
        raise BadFile(path, "a results directory without a finished run")
    frame = rows_frame(rows, str(path))
    return frame.assign(source_file=str(given_as(path)), source_row=range(1, len(frame) + 1))


def rows_frame(rows: Sequence[Mapping[str, ColumnValue]], where: str) -> pd.DataFrame:
    """Rows as a frame with every column of the run table; missing numbers are NaN."""
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    return pd.DataFrame(
        {
            name: typed(pd.Series([row.get(name) for row in rows], name=name, dtype=object), where)
            for name in names
        }
    )
