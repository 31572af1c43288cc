"""From the reads of one response to its row."""

from workloads.failure import ErrorClass, Failure
from workloads.http1 import ResponseBody
from workloads.openai import decode_event
from workloads.sse import EventStream
from workloads.tokens import TokenCounter
from workloads.transcript import clean_error

SPARE_TOKENS = 16
BYTES_PER_TOKEN = 65_536
LONGEST_ERROR_BODY = 4_096


class ResponseDecoder:
    """Feed it reads with their stamps; it counts tokens and classifies what went wrong.

    `asked` is the number of output tokens the server was told to produce; a response of more than
    twice as many, or of absurdly many bytes for them, is cut off.
    """

    def __init__(self, asked: int) -> None:
        self.body = ResponseBody()
        self.tokens = TokenCounter()
        self.failure: Failure | None = None
        self.reads = self.events = self.coalesced_reads = 0
        self.bytes = 0
        self._asked = asked
        self._most_tokens = 2 * asked + SPARE_TOKENS
        self._most_bytes = (self._most_tokens + SPARE_TOKENS) * BYTES_PER_TOKEN
        self._stream = EventStream()
        self._done = False
        self._error_body = b""

    @property
    def complete(self) -> bool:
        """True when nothing more is to come, or nothing more is wanted."""
        return self.body.complete or self.failure is not None

    def feed(self, data: bytes, stamp_s: float) -> None:
        """Take one read that arrived at `stamp_s`."""
        if self.failure is not None:
            return
        self.reads += 1
        self.bytes += len(data)
        events = self.events
        try:
            for piece in self.body.feed(data):
                self._piece(piece, stamp_s)
            self._limit()
            if self.body.complete:
                self._finish()
        except Failure as failure:
            self.failure = failure
        self.coalesced_reads += self.events > events + 1

    def _piece(self, piece: bytes, stamp_s: float) -> None:
        if self.body.status != 200 or not self._is_stream():
            self._error_body = (self._error_body + piece)[:LONGEST_ERROR_BODY]
            return
        for data in self._stream.feed(piece):
            self.events += 1
            if data.strip() == b"[DONE]":
                self._done = True
            elif not self._done:
                self.tokens.add(decode_event(data), stamp_s)

    def _is_stream(self) -> bool:
        return self.body.headers.get("content-type", "").lower().startswith("text/event-stream")

    def _limit(self) -> None:
        if self.bytes > self._most_bytes or len(self.tokens.counts) > self._most_tokens:
            raise Failure("TOO_LARGE", f"far more than the {self._asked} tokens asked for")

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
            self.failure = failure

    def abort(self, error_class: ErrorClass, detail: str) -> None:
        """Tell that the client has given the response up."""
        if self.failure is None:
            self.failure = Failure(error_class, clean_error(detail))

    def _finish(self) -> None:
        self._status()
        if not self._done and not self.tokens.finish_reason:
            raise Failure("STREAM_TRUNCATED", "the response ended before the stream did")
        if not self._done:
            raise Failure("NO_DONE", "the stream ended without [DONE]")
        self.tokens.check(self._asked)

    def _status(self) -> None:
        status = self.body.status
        said = clean_error(self._error_body.decode(errors="replace"))
        if 300 <= status < 400:
            place = clean_error(self.body.headers.get("location", ""))
            raise Failure("HTTP_3XX", f"{status}: redirects to {place}, which is not followed")
        if status >= 500:
            raise Failure("HTTP_5XX", f"{status}: {said}")
        if status >= 400:
            raise Failure("HTTP_4XX", f"{status}: {said}")
        if status != 200 or not self._is_stream():
            kind = clean_error(self.body.headers.get("content-type", "none"))
            raise Failure("BAD_CONTENT", f"{status} with content type {kind}: {said}")
