"""One request on its way: what was read of its answer, and its row once that is decoded."""

from array import array

from catalog.bounded import TOKENS
from workloads.protocol.decode import ResponseDecoder
from workloads.protocol.failure import ErrorClass, Failure
from workloads.transcript import RequestRow, RequestStatus, clean_error

NO_SOCKET = -1
LONGEST_REASON = 40
READ_BYTES = 56
"""What a read takes beside its data: the object's head, its place in a list, its stamp."""


class Exchange:
    """Instants are those of `perf_counter`; nothing here is touched by the reading of a token."""

    __slots__ = (
        "_decoder",
        "_failure",
        "attempts",
        "done",
        "due_s",
        "fd",
        "fresh",
        "last_read_at",
        "reads",
        "request",
        "requested_tokens",
        "sent",
        "stamps",
        "taken_bytes",
    )

    def __init__(self, request: int, due_s: float, requested_tokens: int) -> None:
        self.request = request
        self.due_s = due_s
        self.requested_tokens = requested_tokens
        self.fd = NO_SOCKET
        self.sent: float | None = None
        self.done: float | None = None
        self.attempts = 0
        self.fresh = True
        """True until something of the answer was read."""
        self.last_read_at = 0.0
        """When the last of the decoded reads came."""
        self.reads: list[bytes] = []
        self.stamps = array("d")
        self.taken_bytes = 0
        """What the reads hold that were taken and not yet decoded."""
        self._decoder: ResponseDecoder | None = None
        self._failure: Failure | None = None

    @property
    def decoder(self) -> ResponseDecoder:
        """Made when first needed, which is not while the load runs."""
        if self._decoder is None:
            self._decoder = ResponseDecoder(self.requested_tokens)
        return self._decoder

    def take(self, data: bytes, stamp: float) -> None:
        self.reads.append(data)
        self.stamps.append(stamp)
        self.taken_bytes += len(data) + READ_BYTES

    def decode(self) -> None:
        """Decode what was taken so far."""
        self.decoder.feed(self.reads, self.stamps)
        if self.stamps:
            self.last_read_at = self.stamps[-1]
        self.reads.clear()
        del self.stamps[:]
        self.taken_bytes = 0

    def fail(self, error_class: ErrorClass, detail: str) -> None:
        """Say why the answer stops; what it was worth up to there is still decoded."""
        self._failure = Failure(error_class, clean_error(detail))

    def end(self) -> None:
        """Decode the rest and hold the answer to being complete."""
        self.decode()
        decoder, failure = self.decoder, self._failure
        if decoder.complete:
            return
        if failure is None:
            decoder.end()
        elif failure.error_class == "CONNECTION_LOST" and decoder.body.started:
            decoder.failure = Failure("STREAM_TRUNCATED", failure.detail)
        else:
            decoder.failure = failure

    def leave_open(self) -> None:
        """End an answer that is whole while the server leaves its response open."""
        self.decode()
        self.decoder.leave_open()

    def row(
        self, start: float, input_tokens: int | None, most_input_tokens: int = TOKENS.most
    ) -> RequestRow:
        """Return the row, its times counted from `start`.

        `input_tokens` is what was sent, where that is known; else the server's count is taken,
        which fails the request beyond `most_input_tokens`.
        """
        decoder = self.decoder
        tokens = decoder.tokens
        said = tokens.prompt_tokens
        failure = decoder.failure or _too_long_a_prompt(said, most_input_tokens)
        if failure is not None and said is not None and said > most_input_tokens:
            said = None
        times, several = tokens.times(agreed=failure is None)
        times = times - start
        events, token_reads, clumped = tokens.clumped(agreed=failure is None)
        return RequestRow(
            request=self.request,
            due_s=self.due_s,
            sent_s=None if self.sent is None else self.sent - start,
            first_token_s=float(times[0]) if len(times) else None,
            done_s=None if self.done is None else self.done - start,
            input_tokens=said if input_tokens is None else input_tokens,
            server_input_tokens=said,
            output_tokens=len(times),
            status=_status(failure),
            error_class="" if failure is None else failure.error_class,
            error="" if failure is None else clean_error(failure.detail),
            token_times_s=times,
            reads=decoder.reads,
            events=decoder.events,
            multi_token_events=several,
            coalesced_reads=decoder.coalesced_reads,
            token_events=events,
            token_reads=token_reads,
            clumped_events=clumped,
            cached_tokens=tokens.cached_tokens,
            answered_by=decoder.answered_by,
            notes=";".join(decoder.notes),
            finish_reason=_reason(tokens.finish_reason),
            reconnects=self.attempts,
        )


def _too_long_a_prompt(said: int | None, most: int) -> Failure | None:
    if said is None or said <= most:
        return None
    return Failure(
        "TOKEN_COUNT_MISMATCH",
        f"usage.prompt_tokens is {said}: the prompt cannot have more than {most}",
    )


def _reason(said: str) -> str:
    """Return a finish reason as one clean word; nearly all are one of two."""
    return said if said in ("length", "stop") else clean_error(said)[:LONGEST_REASON]


def _status(failure: Failure | None) -> RequestStatus:
    if failure is None:
        return "ok"
    return "interrupted" if failure.error_class == "INTERRUPTED" else "failed"
