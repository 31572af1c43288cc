"""The trace of a run: what was read from which socket when, and which exchange it belonged to.

While the load runs the client only appends. Whose bytes they are is found out when the trace is
replayed, since one growing trace stays in the processor's caches and a buffer a stream does not.
"""

import os
from array import array
from collections import deque
from collections.abc import Sequence
from typing import IO

import numpy as np

from workloads.protocol.exchange import Exchange

ENTRIES = 16_384
"""Entries of a segment, some megabytes of single tokens."""
ROOM = ENTRIES + 1_024
"""A segment is sealed between two rounds of reading, each of 512 sockets at most."""
FLOOD_READS = 128
SKIPPED = -1
ENDS = -1


class SpilledReads:
    """The data of a segment's entries in a file; `ends` are the places where they end."""

    def __init__(self, file: IO[bytes], ends: Sequence[int]) -> None:
        self._file, self._ends = file, ends
        self.gone: set[int] = set()
        """Entries that are no longer to be had."""

    def __len__(self) -> int:
        return len(self._ends)

    def read(self, begin: int, stop: int) -> list[bytes]:
        """Return the entries from `begin` up to `stop`."""
        ends = self._ends[begin:stop]
        start = first = self._ends[begin - 1] if begin else 0
        block, found = _read(self._file.fileno(), first, ends[-1] - first), []
        for index, end in enumerate(ends, begin):
            found.append(b"" if index in self.gone else block[start - first : end - first])
            start = end
        return found

    def close(self) -> None:
        self._file.close()


class TraceSegment:
    """Entries in order, and the marks between them: (index of the next entry, exchange, socket).

    The socket is that of a beginning, `ENDS` at an end.

    `datas` is as long as there are entries, and empty once they are spilled; `fds` and `stamps`
    have room for more.
    """

    __slots__ = ("datas", "fds", "marks", "spilled", "stamps")

    def __init__(self) -> None:
        self.datas: list[bytes] = []
        self.spilled: SpilledReads | None = None
        self.fds = array("i", bytes(4 * ROOM))
        self.stamps = array("d", bytes(8 * ROOM))
        self.marks: list[tuple[int, Exchange, int]] = []

    def add(self, fd: int, data: bytes, stamp: float) -> None:
        self.fds[len(self.datas)] = fd
        self.stamps[len(self.datas)] = stamp
        self.datas.append(data)

    def __len__(self) -> int:
        return len(self.datas) if self.spilled is None else len(self.spilled)

    @property
    def held_bytes(self) -> int:
        """Bytes of data in memory."""
        return sum(map(len, self.datas))

    def read(self, begin: int, stop: int) -> list[bytes]:
        """Return the data of entries, from wherever they lie."""
        if self.spilled is None:
            return self.datas[begin:stop]
        return self.spilled.read(begin, stop)

    def withdraw(self, index: int) -> bytes:
        """Take the data of one entry out."""
        (data,) = self.read(index, index + 1)
        if self.spilled is None:
            self.datas[index] = b""
        else:
            self.spilled.gone.add(index)
        self.fds[index] = SKIPPED
        return data

    def close(self) -> None:
        """Let the file go that it lies in, if any."""
        if self.spilled is not None:
            self.spilled.close()


class ReadTrace:
    """The segment being written and the sealed ones that wait to be replayed."""

    def __init__(self) -> None:
        self.current = TraceSegment()
        self.sealed: deque[TraceSegment] = deque()
        self.limit = ENTRIES
        """Seal the segment being written when it has this many entries."""
        self.held_bytes = 0
        """Of sealed segments in memory that are not replayed."""
        self.spilled_bytes = 0
        """Of those on disk."""
        self.replayed = 0
        """How many entries of the first sealed segment are replayed."""
        self.reads = 0
        self._last_reads = np.zeros(1024)

    def mark_begin(self, exchange: Exchange) -> None:
        """Mark that what comes from the exchange's socket from here on is its answer."""
        # An exchange that is sent again has another socket by the time of the replay.
        self.current.marks.append((len(self.current.datas), exchange, exchange.fd))

    def mark_end(self, exchange: Exchange) -> None:
        """Mark that an exchange is over; its row is made when the replay comes here."""
        self.current.marks.append((len(self.current.datas), exchange, ENDS))

    @property
    def last_stamp(self) -> float:
        return self.current.stamps[len(self.current.datas) - 1]

    def drop_last(self) -> None:
        """Take back the last entry."""
        del self.current.datas[-1]

    def shorten_segment(self) -> None:
        """Tell that a read filled its buffer: with many of those a segment is to be shorter."""
        self.limit -= ENTRIES // FLOOD_READS

    def seal(self) -> None:
        """Hand what is written to the replay."""
        segment = self.current
        self._update(segment)
        self.held_bytes += segment.held_bytes
        self.reads += len(segment.datas)
        self.sealed.append(segment)
        self.current, self.limit = TraceSegment(), ENTRIES

    def spill(self, segment: TraceSegment, spilled: SpilledReads) -> None:
        """Take a sealed segment's data, now in a file, out of memory; none of it is replayed."""
        if not all(segment.datas):
            spilled.gone.update(i for i, data in enumerate(segment.datas) if not data)
        count = segment.held_bytes
        self.held_bytes -= count
        self.spilled_bytes += count
        segment.datas, segment.spilled = [], spilled

    def last_read(self, fd: int) -> float:
        """Return when something last came from a socket, as far as the sealed segments know."""
        return float(self._last_reads[fd]) if fd < len(self._last_reads) else 0.0

    def update_last_reads(self) -> None:
        """Bring `last_read` up to date."""
        self._update(self.current)

    def _update(self, segment: TraceSegment) -> None:
        count = len(segment.datas)
        fds = np.array(segment.fds[:count])
        kept = fds != SKIPPED
        highest = int(fds.max(initial=0))
        if highest >= len(self._last_reads):
            self._last_reads = np.concatenate([self._last_reads, np.zeros(2 * highest)])
        # Stamps rise, and of equal indices numpy keeps the last.
        self._last_reads[fds[kept]] = np.array(segment.stamps[:count])[kept]

    def withdraw(self, exchange: Exchange) -> None:
        """Move an exchange's entries out of the trace, to the exchange itself."""
        segments = [*self.sealed, self.current]
        first, begin = self._beginning(segments, exchange)
        for segment in segments[first:]:
            withdrawn = _withdraw(segment, exchange, begin)
            if segment is not self.current:
                self.less(segment, withdrawn)
            begin = 0

    def less(self, segment: TraceSegment, count: int) -> None:
        """Count so many bytes of a sealed segment as no longer waiting."""
        if segment.spilled is None:
            self.held_bytes -= count
        else:
            self.spilled_bytes -= count

    def _beginning(self, segments: list[TraceSegment], exchange: Exchange) -> tuple[int, int]:
        """Return where its answer begins: before that, its socket carried others."""
        for index in reversed(range(len(segments))):
            marks = segments[index].marks
            starts = [at for at, one, fd in marks if one is exchange and fd != ENDS]
            if starts:
                return index, max(starts[-1], 0 if index else self.replayed)
        return 0, self.replayed


def _withdraw(segment: TraceSegment, exchange: Exchange, begin: int) -> int:
    """Move the entries from `begin` on out of one segment; return how many bytes they were."""
    withdrawn = 0
    fds = np.array(segment.fds[begin : len(segment)])
    for index in (np.flatnonzero(fds == exchange.fd) + begin).tolist():
        data = segment.withdraw(index)
        exchange.take(data, segment.stamps[index])
        withdrawn += len(data)
    return withdrawn


def _read(file: int, start: int, count: int) -> bytes:
    block = os.pread(file, count, start)
    while len(block) < count:
        more = os.pread(file, count - len(block), start + len(block))
        if not more:
            raise OSError(f"{count - len(block)} bytes of the log of reads are gone from its file")
        block += more
    return block
