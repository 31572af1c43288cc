"""The run table and the request table of a results directory."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from catalog.errors import ResultsError
from orchestrator.quality.rows import quality_columns, with_quality
from orchestrator.record import RunRecord
from orchestrator.store import Manifest, read_manifests

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Value = float | int | str | bool | None


def row_of(record: RunRecord) -> dict[str, Value]:
    """Flatten a record into one row: its own columns, then the further ones."""
    row = msgspec.to_builtins(record)
    extra: Mapping[str, Value] = row.pop("extra")
    return {**row, **extra}


def run_rows(root: Path) -> list[dict[str, Value]]:
    """One row a run, in the order they were started, with its configuration's quality if known."""
    records = [manifest.record for manifest in read_manifests(root)]
    ordered = sorted(records, key=lambda record: (record.started_at, record.run_id))
    quality = quality_columns(root)
    return [with_quality(row_of(record), quality) for record in ordered]


def run_table(root: Path) -> "pd.DataFrame":
    """Return the run table of a results directory as a frame, one tidy row a run."""
    import pandas as pd

    rows = run_rows(root)
    names = [name for name in RunRecord.__struct_fields__ if name != "extra"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=names)


def request_files(root: Path, manifests: Iterable[Manifest] | None = None) -> list[Path]:
    """Return the Parquet files with the request rows of all published runs."""
    listed = read_manifests(root) if manifests is None else manifests
    files = [
        root / file.path
        for m in listed
        for file in m.files
        if file.path.endswith("/requests.parquet")
    ]
    for path in files:
        if not path.is_file():
            raise ResultsError(f"{path}: is missing, though its run was published")
    return files


def request_table(root: Path) -> "pa.Table":
    """Return every request of every published run, token times as a list column."""
    from orchestrator.rows import read_parquet

    return read_parquet(request_files(root))
