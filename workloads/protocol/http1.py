"""The body of one HTTP/1.1 response out of reads that may be cut anywhere (RFC 9112)."""

import re
from collections.abc import Callable

from workloads.protocol.failure import Failure
from workloads.transcript import clean_error

LONGEST_HEAD = 65_536
LONGEST_SIZE_LINE = 1_024
HEX = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
DIGITS = re.compile(r"\d{1,15}")
SEPARATOR = b"\r\n"
HEAD_END = b"\r\n\r\n"


class ResponseBody:
    """Feed it what was read; it returns the body's bytes and knows when the response is complete.

    Framing is chunked, by Content-Length, or by the end of the connection. Content codings are
    refused, not decoded: none is ever asked for, and a small coded body can be a huge plain one.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self._rest = bytearray()
        self._left: int | None = 0
        # A function and not a bound method, which would keep its object alive in a cycle.
        self._step: ParserState = ResponseBody._head

    @property
    def started(self) -> bool:
        """True once anything of the response was seen."""
        return bool(self._rest) or self.status > 0

    @property
    def between_chunks(self) -> bool:
        """True if the next byte begins a chunk."""
        return self._step == ResponseBody._chunk_size and not self._rest

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces of body in `data`; raise `Failure` on anything malformed."""
        if self._rest:
            searched = len(self._rest)
            self._rest += data
            if self._step == ResponseBody._head and self._head_goes_on(searched):
                return []
            data, self._rest = bytes(self._rest), bytearray()
        pieces, at = [], 0
        while at < len(data) and not self.complete:
            after, piece = self._step(self, data, at)
            if piece:
                pieces.append(piece)
            if after == at:
                self._rest += data[at:]
                break
            at = after
        if self.complete and at < len(data):
            raise Failure("BAD_HTTP", f"{len(data) - at} bytes follow the end of the response")
        return pieces

    def eof(self) -> None:
        """Tell that the server has closed the connection."""
        if self._step == ResponseBody._until_close:
            self.complete = True
        elif not self.complete:
            raise Failure("STREAM_TRUNCATED", "the connection ended before the response did")

    def _head_goes_on(self, searched: int) -> bool:
        """Tell whether a head has no end yet, by looking at each of its bytes once."""
        begin = max(0, searched - len(HEAD_END) + 1)
        return len(self._rest) <= LONGEST_HEAD and self._rest.find(HEAD_END, begin) < 0

    def _head(self, data: bytes, at: int) -> tuple[int, bytes]:
        end = data.find(HEAD_END, at)
        if end < 0:
            if len(data) - at > LONGEST_HEAD:
                raise Failure("TOO_LARGE", f"a response head of more than {LONGEST_HEAD} bytes")
            return at, b""
        self._read_head(data[at:end].decode("latin-1"))
        return end + 4, b""

    def _read_head(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        match = re.fullmatch(r"HTTP/1\.[01] (\d{3})(?: .*)?", first)
        if match is None:
            raise Failure("BAD_HTTP", f"not an HTTP/1.1 response: {_shown(first, 80)}")
        status = int(match[1])
        if 100 <= status < 200:
            return
        self.status = status
        fields = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        if first.startswith("HTTP/1.0") and "keep-alive" not in self._header("connection"):
            self.headers["connection"] = "close"
        self._choose_framing()

    def _header(self, name: str) -> str:
        return self.headers.get(name, "").lower()

    def _choose_framing(self) -> None:
        if self._header("content-encoding") not in ("", "identity"):
            coding = self.headers["content-encoding"]
            raise Failure("BAD_CONTENT", f"content coding {coding!r} was not asked for")
        length = self.headers.get("content-length")
        if "transfer-encoding" in self.headers:
            if self._header("transfer-encoding") != "chunked":
                raise Failure("BAD_HTTP", f"transfer coding {self.headers['transfer-encoding']!r}")
            self._step = ResponseBody._chunk_size
        elif self.status in (204, 304) or length is not None:
            self._set_length(length or "0")
        else:
            self._step = ResponseBody._until_close

    def _set_length(self, text: str) -> None:
        if DIGITS.fullmatch(text) is None:
            raise Failure("BAD_HTTP", f"content length {_shown(text)}")
        self._left = int(text)
        self._step = ResponseBody._by_length
        self.complete = self._left == 0

    def _by_length(self, data: bytes, at: int) -> tuple[int, bytes]:
        piece = self._take(data, at)
        self.complete = self._left == 0
        return at + len(piece), piece

    def _take(self, data: bytes, at: int) -> bytes:
        left = self._left or 0
        piece = data[at : at + left]
        self._left = left - len(piece)
        return piece

    def _until_close(self, data: bytes, at: int) -> tuple[int, bytes]:
        return len(data), data[at:]

    def _line(self, data: bytes, at: int) -> int:
        """Return where the line ends, or -1 if its end has not been read yet."""
        end = data.find(SEPARATOR, at)
        if (len(data) if end < 0 else end) - at > LONGEST_SIZE_LINE:
            raise Failure("BAD_HTTP", f"a chunk's head of more than {LONGEST_SIZE_LINE} bytes")
        return end

    def _chunk_size(self, data: bytes, at: int) -> tuple[int, bytes]:
        end = self._line(data, at)
        if end < 0:
            return at, b""
        match = HEX.fullmatch(data, at, end)
        if match is None:
            raise Failure("BAD_HTTP", f"chunk size {_shown(data[at:end])}")
        start, size = end + 2, int(match[1], 16)
        stop = start + size
        if size and data[stop : stop + 2] == SEPARATOR:
            return stop + 2, data[start:stop]
        self._left = size
        self._step = ResponseBody._chunk_data if size else ResponseBody._trailer
        return start, b""

    def _chunk_data(self, data: bytes, at: int) -> tuple[int, bytes]:
        piece = self._take(data, at)
        if not self._left:
            self._step = ResponseBody._chunk_end
        return at + len(piece), piece

    def _chunk_end(self, data: bytes, at: int) -> tuple[int, bytes]:
        if len(data) - at < 2:
            return at, b""
        if data[at : at + 2] != SEPARATOR:
            found = _shown(data[at : at + LONGEST_SIZE_LINE])
            raise Failure("BAD_HTTP", f"a chunk is longer than its size: {found}")
        self._step = ResponseBody._chunk_size
        return at + 2, b""

    def _trailer(self, data: bytes, at: int) -> tuple[int, bytes]:
        end = self._line(data, at)
        if end < 0:
            return at, b""
        self.complete = end == at
        return end + 2, b""


def _shown(said: str | bytes, longest: int = 40) -> str:
    text = said if isinstance(said, str) else said.decode("latin-1")
    return repr(clean_error(text)[:longest])


ParserState = Callable[[ResponseBody, bytes, int], tuple[int, bytes]]
