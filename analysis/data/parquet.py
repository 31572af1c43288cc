"""Parquet files of others: bounded before they are expanded, and their columns made plain."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.errors import BadFile

MOST_ROWS = 2_000_000
MOST_COLUMNS = 2_000
MOST_CELLS = 50_000_000
MOST_BYTES = 2**31
"""Of all cells as they are: a compressed file of a megabyte can hold texts of terabytes."""
BATCH_ROWS = 65_536


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a file of a bearable size; raise BadFile, or what Arrow raises where it is none."""
    # A ParquetFile takes the one file: a path under `key=value` folders adds no columns.
    with pq.ParquetFile(path) as file:
        _check_size(path, file.schema_arrow.names, file.metadata.num_rows)
        texts = [each.name for each in file.schema_arrow if _is_text(each.type)]
    # Texts stay numbers of a dictionary until their whole length is known.
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        table = pa.Table.from_batches(_bounded(path, file), schema=file.schema_arrow)
    frame: pd.DataFrame = _plain(path, table).to_pandas()
    return frame


def _check_size(path: Path, names: list[str], rows: int) -> None:
    check_columns(path, names)
    if rows > MOST_ROWS or rows * len(names) > MOST_CELLS:
        problem = f"{rows:,} rows of {len(names)} columns: a table has at most {MOST_ROWS:,} rows"
        raise BadFile(path, f"{problem} and {MOST_CELLS:,} cells")


def check_columns(path: Path, names: list[str]) -> None:
    """Refuse columns of one name, and more of them than a table of runs can have."""
    if len(names) > MOST_COLUMNS:
        raise BadFile(path, f"{len(names)} columns: a table has at most {MOST_COLUMNS}")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadFile(path, f"column {name[:60]!r} is there twice")
        seen.add(name)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _bounded(path: Path, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    held = 0
    for batch in file.iter_batches(batch_size=BATCH_ROWS):
        held += sum(_expanded_bytes(column) for column in batch.columns)
        if held > MOST_BYTES:
            raise BadFile(path, f"holds more than {MOST_BYTES:,} bytes of values")
        yield batch


def _expanded_bytes(column: pa.Array) -> int:
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return int(column.nbytes)
    each = pc.binary_length(column.dictionary).take(column.indices)
    return int(pc.sum(each).as_py() or 0) + 8 * len(column)


def _plain(path: Path, table: pa.Table) -> pa.Table:
    """Texts as texts again; bytes are text where they can be."""
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            try:
                column = column.cast(pa.large_string())
            except pa.ArrowInvalid:
                raise BadFile(path, f"column {name!r} holds bytes that are no text") from None
        columns.append(column)
    return pa.Table.from_arrays(columns, names=table.column_names)
