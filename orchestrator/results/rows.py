"""Request rows on disk: a log of lines while the run lives, one Parquet file when it is over."""

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from operator import attrgetter
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog.errors import BadFile
from orchestrator.host.files import write_all, write_new
from orchestrator.results.columns import column
from workloads.transcript import RequestRow, Transcript

SCHEMA_VERSION = 1
RowsSource = Path | bytes | memoryview
"""A file of request rows, or what is in it."""
SYNC_EVERY = 1000
WORTH_THREADS_BYTES = 2**22
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
    """Append-only lines `CRC32 JSON`: what a killed run leaves is every row but a torn last one.

    Without a path nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self._kept = path is not None
        self._descriptor = os.open(path, flags, 0o644) if path is not None else -1
        self._unsynced = 0

    def append(self, row: RequestRow) -> None:
        if not self._kept:
            return
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


def read_parquet(sources: Iterable[RowsSource], columns: Sequence[str] | None = None) -> pa.Table:
    """Read request rows of several runs, only the columns asked for."""
    tables = [read_columns(source, list(columns) if columns else None) for source in sources]
    return pa.concat_tables(tables, promote_options="default") if tables else SCHEMA.empty_table()


def rows_of(source: RowsSource) -> list[RequestRow]:
    """Read a run's rows back as they were recorded.

    Token times are parts of one array: no float is made for each.
    """
    table = read_columns(source, _ROW_FIELDS)
    names = [name for name in table.column_names if name in _ROW_FIELDS]
    columns = (
        _split(table[name]) if pa.types.is_list(table[name].type) else table[name].to_pylist()
        for name in names
    )
    return [RequestRow(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def transcript_of(source: RowsSource) -> Transcript:
    """Read a run's rows back as the columns that figures are made of.

    The other columns are read, too, and what cannot be read raises as it does in `rows_of`.
    """
    table = read_columns(source, _ROW_FIELDS)
    table.validate(full=True)
    _whole(table, "request")  # what numbers none holds no requests
    lists, output_tokens = _whole(table, "token_times_s"), _whole(table, "output_tokens")
    if lists.null_count or output_tokens.null_count:
        raise TypeError("a request without its tokens")
    return Transcript(
        status=_texts_of(table, "status", "ok"),
        part=_texts_of(table, "part", ""),
        due_s=_floats(_whole(table, "due_s")),
        sent_s=_floats(_whole(table, "sent_s")),
        first_token_s=_floats(_whole(table, "first_token_s")),
        done_s=_floats(_whole(table, "done_s")),
        input_tokens=np.nan_to_num(_floats(_whole(table, "input_tokens"))).astype(np.int64),
        output_tokens=output_tokens.to_numpy().astype(np.int64),
        token_counts=lists.value_lengths().to_numpy().astype(np.int64),
        token_times_s=_floats(lists.flatten()),
    )


def _whole(table: pa.Table, name: str) -> pa.Array:
    """A column in one piece; KeyError where there is none."""
    chunks = table.column(name)
    return chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()


def _floats(column: pa.Array) -> NDArray[np.float64]:
    """Numbers of a column, NaN where it has none."""
    found: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return found.astype(np.float64, copy=False)


def _texts_of(table: pa.Table, name: str, default: str) -> NDArray[np.object_]:
    """Texts of a column; of one that an earlier version did not write, what it would have said."""
    there = name in table.column_names
    found = _whole(table, name).to_pylist() if there else [default] * len(table)
    return np.array(found, np.object_)


def _split(lists: pa.ChunkedArray) -> list[NDArray[np.float64]]:
    """Arrays of a column of lists: read-only parts of what Arrow holds. A list must be there."""
    if lists.null_count:
        raise TypeError("a request without a list of token times")
    found = []
    for chunk in lists.chunks:
        values = chunk.values.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        offsets = chunk.offsets.to_numpy()
        found += [values[low:high] for low, high in pairwise(offsets.tolist())]
    return found


def read_columns(source: RowsSource, columns: Sequence[str] | None) -> pa.Table:
    """Read the columns a file has of these: one of an earlier version may lack some.

    Raises BadFile for more values than so small a file of request rows can hold: Parquet writes
    millions of equal ones in a few bytes.
    """
    if isinstance(source, Path):
        name, size, opened = source, source.stat().st_size, source
    else:
        name, size, opened = Path("a bundle's rows"), len(source), pa.BufferReader(source)
    with pq.ParquetFile(opened) as file:
        found = file.metadata
        groups = map(found.row_group, range(found.num_row_groups))
        parts = chain.from_iterable(map(g.column, range(g.num_columns)) for g in groups)
        most = max((part.num_values for part in parts), default=0)
        if found.num_rows > size or most > MOST_VALUES_PER_BYTE * size:
            told = f"holds {found.num_rows} rows in {size} bytes: no request rows"
            raise BadFile(name, told)
        # Names that a file lacks are left out. Of a small one threads cost more than they save.
        return file.read(columns=columns, use_threads=size > WORTH_THREADS_BYTES)
