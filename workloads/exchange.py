"""One request on its way: what was read of its answer, and its row once that is decoded."""

from array import array
from time import perf_counter

from workloads.decode import ResponseDecoder
from workloads.transcript import RequestRow, Status

READS_A_GLANCE = 8
MOST_FULL_READS = 16


class Exchange:
    """Collects reads and stamps while the load runs; stamps are instants of `perf_counter`."""

    __slots__ = (
        "_decoded",
        "attempts",
        "decoder",
        "done",
        "due_s",
        "fresh",
        "full_reads",
        "heard",
        "input_tokens",
        "reads",
        "request",
        "sent",
        "stamps",
    )

    def __init__(self, request: int, due_s: float, *, asked: int, input_tokens: int | None) -> None:
        self.request = request
        self.due_s = due_s
        self.input_tokens = input_tokens
        self.sent: float | None = None
        self.done: float | None = None
        self.attempts = 0
        self.fresh = True
        """True until something of the answer was read."""
        self.full_reads = 0
        self.heard = 0.0
        """When the last of the decoded reads arrived."""
        self.reads: list[bytes] = []
        self.stamps = array("d")
        self.decoder = ResponseDecoder(asked)
        self._decoded = 0

    @property
    def held_bytes(self) -> int:
        return sum(map(len, self.reads))

    @property
    def last_heard(self) -> float:
        """When something last happened to this exchange."""
        return max(self.stamps[-1] if self.stamps else self.heard, self.sent or 0.0)

    def has_much(self) -> bool:
        """Count a read that filled its buffer; True once those are worth decoding in passing."""
        self.full_reads += 1
        return self.full_reads % MOST_FULL_READS == 0

    def decode(self, until: float | None = None) -> bool:
        """Decode what was read, no longer than `until`; return whether all of it is decoded."""
        reads, stamps, feed = self.reads, self.stamps, self.decoder.feed
        while self._decoded < len(reads):
            end = min(self._decoded + READS_A_GLANCE, len(reads))
            for index in range(self._decoded, end):
                feed(reads[index], stamps[index])
            self._decoded = end
            if until is not None and perf_counter() > until and end < len(reads):
                return False
        if stamps:
            self.heard = stamps[-1]
        reads.clear()
        del stamps[:]
        self._decoded = 0
        return True

    def end(self) -> None:
        """Decode the rest and hold the answer to being complete."""
        self.decode()
        if not self.decoder.complete:
            self.decoder.end()

    def row(self, start: float) -> RequestRow:
        """Return the row, its times counted from `start`."""
        decoder = self.decoder
        tokens, failure = decoder.tokens, decoder.failure
        times, several = tokens.times()
        times = times - start
        usable = failure is None
        return RequestRow(
            request=self.request,
            due_s=self.due_s,
            sent_s=None if self.sent is None else self.sent - start,
            first_token_s=float(times[0]) if len(times) else None,
            done_s=None if self.done is None else self.done - start,
            input_tokens=self.input_tokens
            if tokens.prompt_tokens is None
            else tokens.prompt_tokens,
            output_tokens=len(times) if usable else tokens.seen,
            status=self._status(),
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

    def _status(self) -> Status:
        failure = self.decoder.failure
        if failure is None:
            return "ok"
        return "interrupted" if failure.error_class == "INTERRUPTED" else "failed"
