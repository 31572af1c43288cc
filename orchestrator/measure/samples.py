"""Samples over time, kept as columns and written once."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SampleValue = float | int | str | None


class SampleTable:
    """Rows of one kind; a column that a row lacks is empty in it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, SampleValue]] = []

    def add(self, **values: SampleValue) -> None:
        self.rows.append(values)

    def column(self, name: str) -> list[SampleValue]:
        return [row.get(name) for row in self.rows]

    def write(self, path: Path) -> None:
        """Write and flush a new Parquet file; nothing at all when there is no row."""
        if not self.rows:
            return
        with path.open("xb") as file:
            pq.write_table(pa.Table.from_pylist(self.rows), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
