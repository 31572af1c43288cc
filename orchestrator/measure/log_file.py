"""A log file as text of bounded size: what a server says all day, and its middle, are left out."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

HEAD_READ, TAIL_READ, BLOCK = 16 * 2**20, 32 * 2**20, 4 * 2**20
"""Bytes of a longer file that are looked at: how the server started and how it ended."""
HEAD_KEPT, TAIL_KEPT = 2 * 2**20, 4 * 2**20
"""Bytes of lines that are kept of them."""
LONGEST_LINE, END_OF_LINE = 24_000, 4_000
"""Bytes kept of a longer line, and how many of them are its end."""
FRAMES = 5
"""Of a progress bar that writes over itself, what is kept of its begin and end."""
_ALL_DAY = (b'HTTP/1.1" 200 OK', b" throughput: ", b"NCCL INFO ")
"""What stands in lines of which one tells as much as a million."""


def read_log(file: BinaryIO) -> str:
    """Return a log's lines but for those that it repeats all day, as text."""
    lines = list(_without_repeats(_lines(file)))
    return b"\n".join(_ends(lines)).decode(errors="replace")


def _ends(lines: list[bytes]) -> Iterable[bytes]:
    """The first and the last of lines, an empty one between them where some are left out."""
    if sum(map(len, lines)) <= HEAD_KEPT + TAIL_KEPT:
        return lines
    head, tail = _as_many(lines, HEAD_KEPT), _as_many(lines[::-1], TAIL_KEPT)
    return [*lines[:head], b"", *lines[len(lines) - tail :]]


def _as_many(lines: list[bytes], most: int) -> int:
    held = 0
    for number, line in enumerate(lines):
        held += len(line) + 1
        if held > most:
            return number
    return len(lines)


def _without_repeats(blocks: Iterable[list[bytes]]) -> Iterator[bytes]:
    access, figures, nccl = _ALL_DAY
    missing = set(_ALL_DAY)
    for lines in blocks:
        first = {_first(lines, each) for each in missing} - {-1}
        missing = {each for each in missing if _first(lines, each) < 0}
        for number, line in enumerate(lines):
            if number in first or not (access in line or figures in line or nccl in line):
                yield line if len(line) <= LONGEST_LINE and b"\r" not in line else _short(line)


def _first(lines: list[bytes], mark: bytes) -> int:
    return next((number for number, line in enumerate(lines) if mark in line), -1)


def _lines(file: BinaryIO) -> Iterator[list[bytes]]:
    """Whole lines, a block at a time; of a long file those of its two ends."""
    size, rest = file.seek(0, 2), b""
    file.seek(0)
    while block := file.read(BLOCK):
        *whole, last = (rest + block).split(b"\n")
        yield whole
        rest = _short(last)
        if HEAD_READ <= file.tell() < size - TAIL_READ:
            yield [rest, b""]
            rest = b""
            file.seek(size - TAIL_READ)
    yield [rest]


def _short(line: bytes) -> bytes:
    if b"\r" in line:
        frames = line.split(b"\r")
        if len(frames) > FRAMES:
            line = b"\r".join([*frames[:2], *frames[2 - FRAMES :]])
    if len(line) > LONGEST_LINE:
        line = line[: LONGEST_LINE - END_OF_LINE] + line[-END_OF_LINE:]
    return line
