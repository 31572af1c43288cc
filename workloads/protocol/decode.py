"""From the reads of one response to its tokens, or to what went wrong."""

import re
from array import array
from collections.abc import Sequence

from workloads.protocol.failure import Failure
from workloads.protocol.http1 import ResponseBody
from workloads.protocol.openai import decode_event, decode_events, model_named
from workloads.protocol.sse import EventStream
from workloads.protocol.tokens import TokenCounter
from workloads.transcript import clean_error

SPARE_TOKENS = 16
BYTES_PER_TOKEN = 65_536
LONGEST_ERROR_BODY = 16_384
# A whole chunk that is a whole event, as nearly all are.
FRAME = re.compile(rb"([0-9a-fA-F]{1,8})\r\ndata: (\{[^\r\n]*)\n\n\r\n")
OK = 200
EVENTS = re.compile(rb"(?:\xef\xbb\xbf)?(?:data|event|id|retry)?:")
"""How an event stream begins, and neither JSON nor HTML."""
LONGEST_FIELD = 8
NAMED_WITHIN = 8
"""Events that may name the model: some gateways begin with some that leave it out."""
DONE = re.compile(rb'"?\[(?:DONE|done)\]"?')
SEPARATORS = 4
"""Bytes of a frame that are neither its size nor its chunk: two CRLF."""


class ResponseDecoder:
    """Feed it reads with their stamps; it counts tokens and classifies what went wrong.

    `requested_tokens` is the number of output tokens the server was told to produce; a response of
    more than twice as many, or of absurdly many bytes for them, is refused.
    """

    def __init__(self, requested_tokens: int) -> None:
        self.body = ResponseBody()
        self.failure: Failure | None = None
        self.reads = self.events = self.coalesced_reads = 0
        self.bytes = 0
        self.answered_by = ""
        """The model that the first of its events to name one names."""
        self.notes: list[str] = []
        """Codes of what was odd of an answer all of whose tokens came."""
        self._left_open = False
        self._requested_tokens = requested_tokens
        self._most_tokens = 2 * requested_tokens + SPARE_TOKENS
        self.tokens = TokenCounter(self._most_tokens)
        self._most_bytes = (self._most_tokens + SPARE_TOKENS) * BYTES_PER_TOKEN
        self._stream = EventStream()
        self._done = False
        self._between_frames = False
        self._frames: list[bytes] = []
        self._frame_stamps = array("d")
        self._error_body = b""
        self._events_by_sight = False
        """True of an event stream under another content type: no client of OpenAI's looks at it."""

    @property
    def complete(self) -> bool:
        """True when nothing more is to come, or nothing more is wanted."""
        return self.body.complete or self._left_open or self.failure is not None

    @property
    def said_done(self) -> bool:
        """True once the stream has said that it is over; the response may not be."""
        return self._done

    def feed(self, reads: Sequence[bytes], stamps: Sequence[float]) -> None:
        """Take reads and the instants at which they arrived."""
        if self.failure is not None:
            return
        try:
            for data, stamp_s in zip(reads, stamps, strict=True):
                self._read(data, stamp_s)
            self._decode_frames()
            if self.body.complete:
                self._finish()
        except Failure as failure:
            self.failure = failure.without_traceback()

    def _read(self, data: bytes, stamp_s: float) -> None:
        self.reads += 1
        self.bytes += len(data)
        events = self.events
        rest = self._take_frames(data, stamp_s) if self._between_frames else 0
        if rest < len(data):
            self._decode_frames()
            for piece in self.body.feed(data[rest:]):
                self._piece(piece, stamp_s)
            self._between_frames = (
                self.body.between_chunks and not self._stream.pending and self._is_stream()
            )
        self.coalesced_reads += self.events > events + 1
        if self.bytes > self._most_bytes or self.events > 2 * self._most_tokens:
            raise Failure(
                "TOO_LARGE", f"far more than the {self._requested_tokens} tokens asked for"
            )

    def _take_frames(self, data: bytes, stamp_s: float) -> int:
        """Take the frames that a read begins with; return where they end."""
        at, length = 0, len(data)
        while at < length and (match := FRAME.match(data, at)):
            size, end = match.end(1) - at, match.end()
            if int(match[1], 16) != end - at - size - SEPARATORS:
                break
            self._name(match[2])
            self._frames.append(match[2])
            self._frame_stamps.append(stamp_s)
            self.events += 1
            at = end
        return at

    def _decode_frames(self) -> None:
        if not self._frames:
            return
        frames, stamps = self._frames, self._frame_stamps
        self._frames, self._frame_stamps = [], array("d")
        if not self._done:
            self.tokens.add_all(decode_events(frames), stamps)

    def _piece(self, piece: bytes, stamp_s: float) -> None:
        if not self._is_stream():
            begun, piece = len(self._error_body), self._error_body + piece
            if self.body.status != OK or begun > LONGEST_FIELD or not EVENTS.match(piece):
                self._error_body = piece[:LONGEST_ERROR_BODY]
                return
            self._events_by_sight, self._error_body = True, b""
        for data in self._stream.feed(piece):
            self._name(data)
            self.events += 1
            if DONE.fullmatch(data.strip()):
                self._done = True
            elif not self._done:
                self.tokens.add(decode_event(data), stamp_s)

    def _name(self, data: bytes) -> None:
        if not self.answered_by and self.events < NAMED_WITHIN:
            self.answered_by = clean_error(model_named(data))

    def _is_stream(self) -> bool:
        if self._events_by_sight:
            return True
        kind = self.body.headers.get("content-type", "").lower()
        return self.body.status == OK and kind.startswith("text/event-stream")

    def end(self) -> None:
        """Tell that the server has closed the connection."""
        if self.failure is not None:
            return
        try:
            if not self.body.started:
                raise Failure("CONNECTION_LOST", "the connection ended before any answer")
            self.body.eof()
            self._finish()
        except Failure as failure:
            self.failure = failure.without_traceback()

    def _finish(self) -> None:
        self._status()
        if not self._done and not self.tokens.finish_reason:
            raise Failure("STREAM_TRUNCATED", "the response ended before the stream did")
        if not self._done:
            if not self.tokens.all_came(self._requested_tokens):
                seen = self.tokens.seen_of(self._requested_tokens)
                raise Failure("NO_DONE", f"the stream ended without [DONE]; {seen}")
            self._note("NO_DONE")
        self.tokens.check(self._requested_tokens)
        if not self.tokens.finish_reason:
            self._note("NO_FINISH_REASON")
        if not self.tokens.usage_seen:
            self._note("USAGE_MISSING")
        if self.tokens.first_is_uncertain:
            self._note("FIRST_TOKEN_UNCERTAIN")

    def _note(self, code: str) -> None:
        if code not in self.notes:
            self.notes.append(code)

    def leave_open(self) -> None:
        """End an answer whose stream is over while the server leaves the response open."""
        if self.complete:
            return
        try:
            self._finish()
        except Failure as failure:
            self.failure = failure.without_traceback()
        self._left_open = True
        self._note("LEFT_OPEN")

    def _status(self) -> None:
        if self._is_stream():
            return
        status = self.body.status
        body_text = clean_error(self._error_body.decode(errors="replace"))
        if 300 <= status < 400:
            place = clean_error(self.body.headers.get("location", ""))
            raise Failure("HTTP_3XX", f"{status}: redirects to {place}, which is not followed")
        if status >= 500:
            raise Failure("HTTP_5XX", f"{status}: {body_text}")
        if status >= 400:
            raise Failure("HTTP_4XX", f"{status}: {body_text}")
        kind = clean_error(self.body.headers.get("content-type", "none"))
        raise Failure("BAD_CONTENT", f"{status} with content type {kind}: {body_text}")
