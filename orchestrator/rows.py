"""Request rows on disk: a log of lines while the run lives, one Parquet file when it is over."""

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.files import write_all
from workloads.transcript import RequestRow

SCHEMA_VERSION = 1
SYNC_EVERY = 1000

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
        ("token_times_s", pa.list_(pa.float64())),
    ],
    metadata={"moeserve_schema": str(SCHEMA_VERSION)},
)
_ROW_FIELDS = [name for name in SCHEMA.names if name != "run_id"]

_encoder = msgspec.json.Encoder(enc_hook=lambda array: array.tolist())
_decoder = msgspec.json.Decoder(RequestRow, dec_hook=lambda _, value: np.array(value, np.float64))


class RowLog:
    """Append-only lines `CRC32 JSON`: what a killed run leaves is every row but a torn last one."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
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
    columns = {name: [getattr(row, name) for row in rows] for name in _ROW_FIELDS}
    table = pa.table({"run_id": [run_id] * len(rows), **columns}, schema=SCHEMA)
    with path.open("xb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())


def read_parquet(paths: Iterable[Path], columns: Sequence[str] | None = None) -> pa.Table:
    """Read request rows of several runs, only the columns asked for."""
    tables = [pq.read_table(path, columns=list(columns) if columns else None) for path in paths]
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


def rows_of(path: Path) -> list[RequestRow]:
    """Read a run's rows back as they were recorded."""
    return [
        RequestRow(**{**row, "token_times_s": np.array(row["token_times_s"], np.float64)})
        for row in pq.read_table(path, columns=_ROW_FIELDS).to_pylist()
    ]
