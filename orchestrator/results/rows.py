"""Request rows on disk: a log of lines while the run lives, one Parquet file when it is over."""

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import BadFile
from orchestrator.host.files import write_all, write_new
from orchestrator.results.columns import column
from workloads.transcript import RequestRow

SCHEMA_VERSION = 1
SYNC_EVERY = 1000
MOST_VALUES_PER_BYTE = 64
"""Token times of equal steps compress well."""

SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("request", pa.int32()),
        ("due_s", pa.float64()),
        ("sent_s", pa.float64()),
        ("first_token_s", pa.float64()),
        ("done_s", pa.float64()),
        ("input_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("status", pa.string()),
        ("error_class", pa.string()),
        ("error", pa.string()),
        ("finish_reason", pa.string()),
        ("reads", pa.int32()),
        ("events", pa.int32()),
        ("multi_token_events", pa.int32()),
        ("reconnects", pa.int32()),
        ("server_input_tokens", pa.int32()),
        ("cached_tokens", pa.int32()),
        ("token_events", pa.int32()),
        ("token_reads", pa.int32()),
        ("clumped_events", pa.int32()),
        ("answered_by", pa.string()),
        ("notes", pa.string()),
        ("input_len", pa.int32()),
        ("output_len", pa.int32()),
        ("natural", pa.bool_()),
        ("part", pa.string()),
        ("session", pa.int32()),
        ("turn", pa.int32()),
        ("token_times_s", pa.list_(pa.float64())),
    ],
    metadata={"moeserve_schema": str(SCHEMA_VERSION)},
)
_ROW_FIELDS = [name for name in SCHEMA.names if name != "run_id"]
_ROW_VALUES = attrgetter(*_ROW_FIELDS)
# Numbers hardly repeat: a dictionary of them makes a file larger by a fifth, and slower to write.
_TEXTS = [each.name for each in SCHEMA if pa.types.is_string(each.type)]
# Token times are nearly all of a file; starting zstd for each other column too costs more time.
_COMPRESSION = {
    **{name: "none" for name in SCHEMA.names if name != "token_times_s"},
    "token_times_s.list.element": "zstd",
}

_encoder = msgspec.json.Encoder(enc_hook=lambda array: array.tolist())
_decoder = msgspec.json.Decoder(RequestRow, dec_hook=lambda _, value: np.array(value, np.float64))


class RowLog:
    """Append-only lines `CRC32 JSON`: what a killed run leaves is every row but a torn last one."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644
        )
        self._unsynced = 0

    def append(self, row: RequestRow) -> None:
        body = _encoder.encode(row)
        write_all(self._descriptor, b"%08x %s\n" % (zlib.crc32(body), body))
        self._unsynced += 1
        if self._unsynced >= SYNC_EVERY:
            os.fdatasync(self._descriptor)
            self._unsynced = 0

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_log(path: Path) -> Iterator[RequestRow]:
    """Yield the rows up to the first line that is torn or damaged."""
    with path.open("rb") as file:
        for line in file:
            checksum, _, body = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
                return
            yield _decoder.decode(body)


def write_parquet(path: Path, run_id: str, rows: Sequence[RequestRow]) -> None:
    """Write all rows of a run to a new file and flush it to disk."""
    values = zip(*map(_ROW_VALUES, rows), strict=True) if rows else [()] * len(_ROW_FIELDS)
    columns = zip([(run_id,) * len(rows), *values], SCHEMA, strict=True)
    table = pa.Table.from_arrays([column(each, of.type) for each, of in columns], schema=SCHEMA)
    file = pa.BufferOutputStream()
    pq.write_table(table, file, compression=_COMPRESSION, use_dictionary=_TEXTS)
    write_new(path, file.getvalue())


def read_parquet(paths: Iterable[Path], columns: Sequence[str] | None = None) -> pa.Table:
    """Read request rows of several runs, only the columns asked for."""
    tables = [_table(path, list(columns) if columns else None) for path in paths]
    return pa.concat_tables(tables, promote_options="default") if tables else SCHEMA.empty_table()


def rows_of(path: Path) -> list[RequestRow]:
    """Read a run's rows back as they were recorded."""
    return [
        RequestRow(**{**row, "token_times_s": np.array(row["token_times_s"], np.float64)})
        for row in _table(path, _ROW_FIELDS).to_pylist()
    ]


def _table(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """Read the columns a file has of these: one of an earlier version may lack some.

    Raises BadFile for more values than so small a file of request rows can hold: Parquet writes
    millions of equal ones in a few bytes.
    """
    with pq.ParquetFile(path) as file:
        found, size = file.metadata, path.stat().st_size
        groups = [found.row_group(number) for number in range(found.num_row_groups)]
        values = [g.column(number).num_values for g in groups for number in range(g.num_columns)]
        if found.num_rows > size or max(values, default=0) > MOST_VALUES_PER_BYTE * size:
            raise BadFile(path, f"holds {found.num_rows} rows in {size} bytes: no request rows")
        there = file.schema_arrow.names
        return file.read(columns=None if columns is None else [n for n in columns if n in there])
