"""Run tables and request files of results directories."""

from pathlib import Path

import msgspec
import pandas as pd

from analysis.read import typed
from catalog.errors import BadFile
from orchestrator.record import COLUMNS, RunRecord
from orchestrator.store import Manifest, read_manifests


def read_directory(path: Path) -> pd.DataFrame:
    """Every published run, and the last attempt of those that never finished, as rows."""
    manifests = read_manifests(path)
    if not manifests:
        raise BadFile(path, "a results directory without a finished run")
    frame = records_frame([manifest.record for manifest in manifests])
    return frame.assign(source_file=str(path), source_row=range(1, len(frame) + 1))


def records_frame(records: list[RunRecord]) -> pd.DataFrame:
    """Records as a frame: further columns flattened, missing numbers NaN."""
    rows = [flat(record) for record in records]
    extra = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    columns = {name: [row.get(name) for row in rows] for name in (*COLUMNS, *extra)}
    return pd.DataFrame(
        {
            name: typed(pd.Series(cells, name=name, dtype=object), "results")
            for name, cells in columns.items()
        }
    )


def flat(record: RunRecord) -> dict[str, object]:
    """One record as a row of the run table."""
    row = msgspec.structs.asdict(record)
    extra = row.pop("extra")
    return {**row, **extra}


def request_files(path: Path) -> list[Path]:
    """The Parquet files that hold the request rows of the published runs."""
    return [path / stored for manifest in read_manifests(path) for stored in _rows_of(manifest)]


def _rows_of(manifest: Manifest) -> list[str]:
    return [f.path for f in manifest.files if Path(f.path).suffix == ".parquet"]
