"""Server-sent events out of a body that may be cut anywhere (HTML standard, section 9.2)."""

from contextlib import suppress

import msgspec

from workloads.protocol.failure import Failure

LONGEST_EVENT = 1 << 20
ALIVE = frozenset({b"ping", b"heartbeat", b"keepalive", b"keep-alive"})
"""Names of events that say nothing but that the connection lives."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventStream:
    """Feed it pieces of the body; it returns the data of each event that they complete.

    Lines end in LF, CRLF or CR; the data lines of one event are joined by LF. An event without its
    blank line, or without anything in its data, is never returned, nor is a `ping`. Of the other
    fields only `event: error` is heeded: its data, or else its comment, comes back as
    `{"error": …}`.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._failed = False
        """True once the event being read has said that it is an error."""
        self._alive = False
        self._comment = b""
        self._skip_lf = False
        self._first = True

    @property
    def pending(self) -> bool:
        """True if an event has begun and not ended."""
        return bool(self._line or self._data or self._failed or self._alive)

    def feed(self, piece: bytes) -> list[bytes]:
        if not self.pending and _is_one_event(piece):
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
            else:
                events += self._dispatch()
        return events

    def _dispatch(self) -> list[bytes]:
        data = b"\n".join(self._data)
        if self._failed:
            data = _as_error(data or self._comment)
        dropped = self._alive or not data.strip()
        self._data, self._size, self._comment = [], 0, b""
        self._failed = self._alive = False
        return [] if dropped else [data]

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
            self._limit(self._size)
        elif name == b"event":
            self._failed, self._alive = value.strip() == b"error", value.strip() in ALIVE
        elif not name:
            self._comment = value.strip()

    def _limit(self, size: int) -> None:
        if size > LONGEST_EVENT:
            raise Failure("TOO_LARGE", f"an event of more than {LONGEST_EVENT} bytes")


def _as_error(said: bytes) -> bytes:
    """Write an error's data in the one form that events with an error have."""
    with suppress(msgspec.MsgspecError, RecursionError):
        found = msgspec.json.decode(said)
        if isinstance(found, dict) and "error" in found:
            return said
        return msgspec.json.encode({"error": found})
    return msgspec.json.encode({"error": said.decode(errors="replace") or "event: error"})


def _is_one_event(piece: bytes) -> bool:
    """Tell whether a piece is just `data: …` and a blank line, as nearly all are."""
    return (
        piece.startswith(b"data: ")
        and piece.endswith(b"\n\n")
        and piece.count(b"\n") == 2
        and b"\r" not in piece
        and not piece[6:].isspace()
    )
