"""Opening what a user names: a regular file of a size that is read, and a hash of what it holds."""

import hashlib
import os
import stat
from functools import lru_cache
from pathlib import Path

from catalog.errors import BadFile
from catalog.named_file import read_named

MOST_BYTES = 1_000_000_000
LONGEST_LINE_BYTES = 64_000_000
PACKED = {
    b"\x1f\x8b": "compressed (gzip)",
    b"\x28\xb5\x2f\xfd": "compressed (zstd)",
    b"\xfd7zXZ\x00": "compressed (xz)",
    b"BZh": "compressed (bzip2)",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"version https://git-lfs": "the address of a file in Git LFS, not the file",
}
"""How files begin that hold requests, but not as text."""
DIGITS = 8
"""Of the hash, in a workload's name."""


def digest_of(path: Path, what: str) -> str:
    """Return the first hex digits of a file's SHA-256; BadFile where it cannot be read."""
    found = _state(path, what)
    return _digest(path, (found.st_mtime_ns, found.st_size, found.st_ino))


def read_bytes(path: Path, digest: str, what: str) -> bytes:
    """Return what a file holds; BadFile where that is no longer what `digest` is of."""
    _state(path, what)
    data = _read(path)
    if form := next((name for begin, name in PACKED.items() if data.startswith(begin)), None):
        raise BadFile(path, f"is {form}, and a {what} is text: unpack or export it first")
    if hashlib.sha256(data).hexdigest()[: len(digest)] != digest:
        raise BadFile(path, f"has changed: its hash is no longer {digest}, which was planned")
    return data


def _state(path: Path, what: str) -> os.stat_result:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise BadFile(path, f"no such {what}") from None
    except (OSError, ValueError) as error:
        raise BadFile(path, f"cannot be read: {error}") from None
    if not stat.S_ISREG(found.st_mode):
        raise BadFile(path, f"is not a regular file, so no {what}")
    if not found.st_size:
        raise BadFile(path, "is empty")
    if found.st_size > MOST_BYTES:
        given = f"has {found.st_size:,} bytes"
        raise BadFile(path, f"{given}: a {what} of at most {MOST_BYTES:,} bytes is read; cut it")
    return found


@lru_cache(maxsize=256)
def _digest(path: Path, _state: tuple[int, int, int]) -> str:
    return hashlib.sha256(_read(path)).hexdigest()[:DIGITS]


def _read(path: Path) -> bytes:
    return read_named(path, most_bytes=MOST_BYTES)


def lines_of(path: Path, data: bytes) -> list[tuple[int, bytes]]:
    """Return the lines that are not blank, each with its number from 1."""
    lines = [(n, line) for n, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    if not lines:
        raise BadFile(path, "holds no line that is not blank")
    number, longest = max(lines, key=lambda line: len(line[1]))
    if len(longest) > LONGEST_LINE_BYTES:
        raise BadFile(path, f"line {number}: has {len(longest):,} bytes, no line of requests has")
    return lines


def bad_line(path: Path, number: int, field: str, problem: str) -> BadFile:
    """Name file, line and field."""
    return BadFile(path, f"line {number}: {field}: {problem}")
