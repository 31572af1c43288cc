"""Sealed segments of the trace on disk, where the replay does not keep up: memory stays flat.

A write of a segment takes milliseconds, in which nothing is read. So it is written a piece at a
time, between two turns, into a file without a name; what cannot be written stays in memory.
"""

import os
import tempfile
from array import array
from collections import deque
from itertools import islice
from typing import IO

from workloads.transport.trace import ReadTrace, SpilledReads, TraceSegment

PIECE = 1024
"""Entries that are written at once, more than are read between two writes."""
KEPT = 3
"""Segments that are replayed next stay in memory."""
MOST_FILES = 128
"""Then two million reads lie on disk."""


class Spill:
    """Moves what waits longest for its replay out of memory, piece by piece."""

    def __init__(self, trace: ReadTrace) -> None:
        self._trace = trace
        self._segment: TraceSegment | None = None
        self._file: IO[bytes]
        self._ends = array("Q")
        self.broken = False
        """True once something could not be written; then nothing more is tried."""

    def step(self) -> None:
        """Write one piece."""
        if self.broken:
            return
        try:
            self._step(self._trace.sealed)
        except OSError:
            self.broken = True
            self._abandon()

    def _step(self, sealed: deque[TraceSegment]) -> None:
        waiting = list(islice(sealed, KEPT, KEPT + MOST_FILES))
        if self._segment is not None and self._segment not in waiting:
            self._abandon()
        if self._segment is None and not self._begin(waiting):
            return
        assert self._segment is not None  # begun
        written, datas = len(self._ends), self._segment.datas
        piece = datas[written : written + PIECE]
        end = self._ends[-1] if written else 0
        for data in piece:
            end += len(data)
            self._ends.append(end)
        _write(self._file.fileno(), b"".join(piece))
        if len(self._ends) == len(datas):
            self._finish(self._segment)

    def _begin(self, waiting: list[TraceSegment]) -> bool:
        found = next((each for each in waiting if each.spilled is None and each.datas), None)
        if found is None:
            return False
        # Unbuffered: what is asked of the file is what happens.
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - outlives this call
        self._segment, self._ends = found, array("Q")
        return True

    def _finish(self, segment: TraceSegment) -> None:
        self._trace.spill(segment, SpilledReads(self._file, self._ends))
        self._segment = None

    def _abandon(self) -> None:
        if self._segment is not None:
            self._segment = None
            self._file.close()

    def close(self) -> None:
        """Let all files go."""
        self._abandon()
        for segment in self._trace.sealed:
            segment.close()


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
