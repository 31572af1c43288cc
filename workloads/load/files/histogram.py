"""Histograms of lengths: a CSV file with the columns `input_len`, `output_len` and `count`."""

import csv
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog.bounded import WholeRange
from catalog.errors import BadFile
from workloads.load.files.open import bad_line, read_bytes

WHAT = "file of lengths"
COLUMNS = ("input_len", "output_len")
KNOWN = (*COLUMNS, "count")
TOKENS = WholeRange(1, 10_000_000)
COUNTS = WholeRange(1, 2**31 - 1)
MOST_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Histogram:
    """Pairs of lengths; row i is drawn with probability `weights[i]`."""

    input_lens: NDArray[np.int64]
    output_lens: NDArray[np.int64]
    weights: NDArray[np.float64]


@lru_cache(maxsize=16)
def read_histogram(path: Path, digest: str) -> Histogram:
    """Read a histogram; without `count` every row weighs the same."""
    try:
        text = read_bytes(path, digest, WHAT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(path, f"is not UTF-8: {error.reason} at byte {error.start}") from None
    reader = csv.DictReader(io.StringIO(text))
    names = list(reader.fieldnames or ())
    if missing := [name for name in COLUMNS if name not in names]:
        raise bad_line(path, 1, missing[0], "no such column; it has input_len,output_len[,count]")
    if other := [name for name in names if name not in KNOWN or names.count(name) > 1]:
        told = f"no column of {','.join(COLUMNS)}[,count], or there twice: nothing would use it"
        raise bad_line(path, 1, f"{other[0]!r:.60}", told)
    rows = []
    try:
        for row in reader:
            counted = row.get("count", "1")
            rows.append(
                (
                    _whole(path, reader.line_num, "input_len", row["input_len"], TOKENS),
                    _whole(path, reader.line_num, "output_len", row["output_len"], TOKENS),
                    _whole(path, reader.line_num, "count", counted, COUNTS),
                )
            )
            if len(rows) > MOST_ROWS:
                raise BadFile(path, f"has more than {MOST_ROWS:,} rows")
    except csv.Error as error:
        raise BadFile(path, f"line {reader.line_num}: is not CSV: {error}") from None
    if not rows:
        raise BadFile(path, "holds no row beside its header")
    inputs, outputs, counts = np.array(rows, np.int64).T
    return Histogram(inputs, outputs, counts / counts.sum())


def _whole(path: Path, line: int, field: str, text: str | None, allowed: WholeRange) -> int:
    found = allowed.parse(text or "")
    if found is None:
        raise bad_line(path, line, field, f"{text!r:.60} is not {allowed.allowed}")
    return found
