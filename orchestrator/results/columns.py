"""Arrow columns out of numpy's buffers.

What `pa.array` makes of Python's values is the same, but it loads pandas to ask whether they are
pandas' own: a quarter of a second of every study, and most of the time of a short one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return a column of numbers (None is null), flags, texts, or arrays of float64."""
    if pa.types.is_string(kind):
        return _texts(values, kind)
    if pa.types.is_boolean(kind):
        return _flags(values, kind)
    if pa.types.is_list(kind):
        return _lists(values, kind)
    return _numbers(values, kind)


def _numbers(values: Sequence[float | None], kind: pa.DataType) -> pa.Array:
    mask = None
    if None in values:
        known = np.array([value is not None for value in values], np.bool_)
        mask = pa.py_buffer(np.packbits(known, bitorder="little"))
        values = [0 if value is None else value for value in values]
    # Not by to_pandas_dtype, which loads pandas in older releases of pyarrow.
    as_numpy = f"{'f' if pa.types.is_floating(kind) else 'i'}{kind.bit_width // 8}"
    filled = pa.py_buffer(np.array(values, as_numpy))
    return pa.Array.from_buffers(kind, len(values), [mask, filled])


def _flags(values: Sequence[bool], kind: pa.DataType) -> pa.Array:
    bits = pa.py_buffer(np.packbits(np.array(values, np.bool_), bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [None, bits])


def _texts(values: Sequence[str], kind: pa.DataType) -> pa.Array:
    by_text = {value: value.encode() for value in set(values)}
    encoded = [by_text[value] for value in values]
    buffers = [None, _offsets(encoded), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(kind, len(values), buffers)


def _lists(values: Sequence[NDArray[np.float64]], kind: pa.DataType) -> pa.Array:
    joined = np.concatenate([np.empty(0), *values])
    items = pa.Array.from_buffers(kind.value_type, len(joined), [None, pa.py_buffer(joined)])
    buffers = [None, _offsets(values)]
    return pa.Array.from_buffers(kind, len(values), buffers, children=[items])


def _offsets(values: Sequence[bytes] | Sequence[NDArray[np.float64]]) -> pa.Buffer:
    """Where each value begins in the joined ones, and where the last one ends."""
    ends = np.cumsum(np.fromiter((0, *map(len, values)), np.int64))
    if ends[-1] > np.iinfo(np.int32).max:
        raise OverflowError(f"{ends[-1]} values in one column of a file: too many for its offsets")
    return pa.py_buffer(ends.astype(np.int32))
