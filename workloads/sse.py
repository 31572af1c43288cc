"""Server-sent events out of a body that may be cut anywhere (HTML standard, section 9.2)."""

from workloads.failure import Failure

LONGEST_EVENT = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventStream:
    """Feed it pieces of the body; it returns the data of each event that they complete.

    Lines end in LF, CRLF or CR; comments and other fields are skipped; the data lines of one
    event are joined by LF. An event without its blank line is never returned.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._skip_lf = False
        self._first = True

    @property
    def pending(self) -> bool:
        """True if an event has begun and not ended."""
        return bool(self._line or self._data)

    def feed(self, piece: bytes) -> list[bytes]:
        if not self._line and not self._data and _is_one_event(piece):
            self._first = self._skip_lf = False
            return [piece[6:-2]]
        if self._skip_lf and piece:
            self._skip_lf = False
            piece = piece.removeprefix(b"\n")
        end = 1 + max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        self._line += piece[:end] if end else piece
        self._limit(len(self._line))
        if not end:
            return []
        lines, self._line = bytes(self._line), bytearray(piece[end:])
        self._skip_lf = end == len(piece) and lines.endswith(b"\r")
        return self._events(lines)

    def _events(self, lines: bytes) -> list[bytes]:
        if self._first:
            self._first = False
            lines = lines.removeprefix(BYTE_ORDER_MARK)
        events = []
        for line in lines.splitlines():
            if line:
                self._field(line)
            elif self._data:
                events.append(b"\n".join(self._data))
                self._data, self._size = [], 0
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
            self._limit(self._size)

    def _limit(self, size: int) -> None:
        if size > LONGEST_EVENT:
            raise Failure("TOO_LARGE", f"an event of more than {LONGEST_EVENT} bytes")


def _is_one_event(piece: bytes) -> bool:
    """Tell whether a piece is just `data: …` and a blank line, as nearly all are."""
    return (
        piece.startswith(b"data: ")
        and piece.endswith(b"\n\n")
        and piece.count(b"\n") == 2
        and b"\r" not in piece
    )
