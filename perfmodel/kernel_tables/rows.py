"""Rows of a table file, its columns checked."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.errors import BadFile
from catalog.named_file import check_named
from perfmodel.arrays import FloatArray
from perfmodel.kernel_tables.grid import Measured, measured

MS = 1e-3
MOST_BYTES = 256 * 2**20
"""Of a table's file: the largest that is known has three."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Columns of one file, shape (rows,) each."""

    path: Path
    columns: Mapping[str, npt.NDArray[Any]]

    def where(self, **wanted: object) -> "Rows":
        """Rows whose columns hold these values."""
        chosen: npt.NDArray[np.bool_] = np.ones(len(self), dtype=bool)
        for name, value in wanted.items():
            chosen &= self.columns[name] == value
        return Rows(self.path, {name: each[chosen] for name, each in self.columns.items()})

    def with_column(self, name: str, values: FloatArray) -> "Rows":
        return Rows(self.path, {**self.columns, name: values})

    def times(self, *over: str, seconds: str = "latency", scale: float = MS) -> Measured | None:
        """Times over these columns; None without rows."""
        columns = [self.numbers(name) for name in over]
        return measured(columns, self.numbers(seconds) * scale)

    def numbers(self, name: str) -> FloatArray:
        """A column of numbers over 0; anything else is no measurement."""
        try:
            values = np.asarray(self.columns[name], dtype=np.float64)
        except (TypeError, ValueError):
            raise BadFile(self.path, f"column {name!r} is not of numbers") from None
        if not np.all(np.isfinite(values) & (values > 0)):
            raise BadFile(self.path, f"column {name!r} holds numbers that are not over 0")
        return values

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@functools.lru_cache(maxsize=32)
def parquet_rows(path: Path, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> Rows:
    """Read columns of a Parquet file; those of `optional` where it has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadFile(path, f"larger than {MOST_BYTES >> 20} MiB: not a table of kernels")
        file = pq.ParquetFile(check_named(path, "table of kernels"))
        held = file.schema_arrow.names
        check_columns(path, held, names)
        table = file.read([*names, *(name for name in optional if name in held)])
        # Fixed-width text compares quickly.
        columns = {name: _column(table[name].to_numpy()) for name in table.column_names}
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadFile(path, f"cannot be read as a table of kernels: {reason}") from None
    return Rows(path, columns)


def _column(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(str) if values.dtype == object else values


def check_columns(path: Path, held: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in held]
    if missing:
        raise BadFile(path, f"no column {', '.join(map(repr, missing))}")
