"""One request on its way: what was read of its answer, and its row once that is decoded."""

from array import array

from workloads.decode import ResponseDecoder
from workloads.failure import ErrorClass, Failure
from workloads.transcript import RequestRow, Status, clean_error

NO_SOCKET = -1


class Exchange:
    """Instants are those of `perf_counter`; nothing here is touched by the reading of a token."""

    __slots__ = (
        "_decoder",
        "_failure",
        "asked",
        "attempts",
        "done",
        "due_s",
        "fd",
        "fresh",
        "heard",
        "reads",
        "request",
        "sent",
        "stamps",
    )

    def __init__(self, request: int, due_s: float, asked: int) -> None:
        self.request = request
        self.due_s = due_s
        self.asked = asked
        self.fd = NO_SOCKET
        self.sent: float | None = None
        self.done: float | None = None
        self.attempts = 0
        self.fresh = True
        """True until something of the answer was read."""
        self.heard = 0.0
        """When the last of the decoded reads came."""
        self.reads: list[bytes] = []
        self.stamps = array("d")
        self._decoder: ResponseDecoder | None = None
        self._failure: Failure | None = None

    @property
    def decoder(self) -> ResponseDecoder:
        """Made when first needed, which is not while the load runs."""
        if self._decoder is None:
            self._decoder = ResponseDecoder(self.asked)
        return self._decoder

    def take(self, data: bytes, stamp: float) -> None:
        self.reads.append(data)
        self.stamps.append(stamp)

    def decode(self) -> None:
        """Decode what was taken so far."""
        self.decoder.feed(self.reads, self.stamps)
        if self.stamps:
            self.heard = self.stamps[-1]
        self.reads.clear()
        del self.stamps[:]

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

    def row(self, start: float, input_tokens: int | None) -> RequestRow:
        """Return the row, its times counted from `start`."""
        decoder = self.decoder
        tokens, failure = decoder.tokens, decoder.failure
        times, several = tokens.times()
        times = times - start
        return RequestRow(
            request=self.request,
            due_s=self.due_s,
            sent_s=None if self.sent is None else self.sent - start,
            first_token_s=float(times[0]) if len(times) else None,
            done_s=None if self.done is None else self.done - start,
            input_tokens=input_tokens if tokens.prompt_tokens is None else tokens.prompt_tokens,
            output_tokens=len(times),
            status=_status(failure),
            error_class="" if failure is None else failure.error_class,
            error="" if failure is None else failure.detail,
            token_times_s=times,
            reads=decoder.reads,
            events=decoder.events,
            multi_token_events=several,
            coalesced_reads=decoder.coalesced_reads,
            finish_reason=tokens.finish_reason,
            reconnects=self.attempts,
        )


def _status(failure: Failure | None) -> Status:
    if failure is None:
        return "ok"
    return "interrupted" if failure.error_class == "INTERRUPTED" else "failed"
