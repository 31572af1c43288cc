"""The trace of a run: what was read from which socket when, and which exchange it belonged to.

While the load runs the client only appends. Whose bytes they are is found out when the trace is
replayed, since one growing trace stays in the processor's caches and a buffer a stream does not.
"""

from array import array
from collections import deque

import numpy as np

from workloads.protocol.exchange import Exchange

ENTRIES = 16_384
"""Entries of a segment, some megabytes of single tokens."""
ROOM = ENTRIES + 1_024
"""A segment is sealed between two rounds of reading, each of 512 sockets at most."""
FLOOD_READS = 128
SKIPPED = -1
ENDS = -1


class TraceSegment:
    """Entries in order, and the marks between them: (index of the next entry, exchange, socket).

    The socket is that of a beginning, `ENDS` at an end.

    `datas` is as long as there are entries; `fds` and `stamps` have room for more.
    """

    __slots__ = ("datas", "fds", "marks", "stamps")

    def __init__(self) -> None:
        self.datas: list[bytes] = []
        self.fds = array("i", bytes(4 * ROOM))
        self.stamps = array("d", bytes(8 * ROOM))
        self.marks: list[tuple[int, Exchange, int]] = []

    def add(self, fd: int, data: bytes, stamp: float) -> None:
        self.fds[len(self.datas)] = fd
        self.stamps[len(self.datas)] = stamp
        self.datas.append(data)

    @property
    def held_bytes(self) -> int:
        return sum(map(len, self.datas))


class ReadTrace:
    """The segment being written and the sealed ones that wait to be replayed."""

    def __init__(self) -> None:
        self.current = TraceSegment()
        self.sealed: deque[TraceSegment] = deque()
        self.limit = ENTRIES
        """Seal the segment being written when it has this many entries."""
        self.held_bytes = 0
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
            self.held_bytes -= 0 if segment is self.current else withdrawn
            begin = 0

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
    fds = np.array(segment.fds[begin : len(segment.datas)])
    for index in np.flatnonzero(fds == exchange.fd) + begin:
        exchange.take(segment.datas[index], segment.stamps[index])
        withdrawn += len(segment.datas[index])
        segment.datas[index], segment.fds[index] = b"", SKIPPED
    return withdrawn
