"""What is known of each request of a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from catalog.secrets import redact

RequestStatus = Literal["ok", "failed", "interrupted"]
Seconds = NDArray[np.float64]

NO_TIMES: Seconds = np.empty(0)
NO_TIMES.flags.writeable = False
LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """One request; times are seconds from the start of the run, None is «did not happen»."""

    request: int
    due_s: float
    sent_s: float | None = None
    first_token_s: float | None = None
    done_s: float | None = None
    """When the response was complete or the request had failed."""
    input_tokens: int | None = None
    """Of the prompt: what was sent, where it was token ids, else what the server says."""
    server_input_tokens: int | None = None
    """What the server says it read; None where it says nothing."""
    output_tokens: int = 0
    status: RequestStatus = "ok"
    error_class: str = ""
    error: str = ""
    token_times_s: Seconds = field(default_factory=lambda: NO_TIMES)
    """One entry a token; an event of several tokens shares its gap evenly over them."""
    reads: int = 0
    events: int = 0
    multi_token_events: int = 0
    coalesced_reads: int = 0
    """Reads that brought several events: the server packs them, or the client reads late."""
    token_events: int = 0
    token_reads: int = 0
    """Reads that brought tokens."""
    clumped_events: int = 0
    """Events with tokens that came in one read with another one, so at one instant."""
    cached_tokens: int | None = None
    """Of the prompt, that the server says it had in its cache; None where it says nothing."""
    answered_by: str = ""
    """The model that the answer names."""
    notes: str = ""
    """Codes, joined by `;`, of what was odd of an answer that counts all the same."""
    finish_reason: str = ""
    reconnects: int = 0
    input_len: int | None = None
    """Tokens of the prompt that were asked for; None where nobody has tokenised it."""
    output_len: int | None = None
    """Tokens of the answer that were asked for; of a natural end the most."""
    natural: bool = False
    """Whether the answer was to end where the model ends it."""
    part: str = ""
    """Class of the request, in a mix of several."""
    session: int | None = None
    turn: int | None = None
    """Of the session, from 0."""


class Transcript:
    """The rows of a run and the columns that metrics are made of."""

    def __init__(self, rows: Iterable[RequestRow]) -> None:
        self.rows: Sequence[RequestRow] = tuple(rows)

    @cached_property
    def completed(self) -> "Transcript":
        return Transcript(row for row in self.rows if row.status == "ok")

    @cached_property
    def due_s(self) -> Seconds:
        return _column([row.due_s for row in self.rows])

    @cached_property
    def sent_s(self) -> Seconds:
        return _column([row.sent_s for row in self.rows])

    @cached_property
    def done_s(self) -> Seconds:
        return _column([row.done_s for row in self.rows])

    @cached_property
    def first_token_s(self) -> Seconds:
        return _column([row.first_token_s for row in self.rows])

    @cached_property
    def last_token_s(self) -> Seconds:
        return _column(
            [row.token_times_s[-1] if len(row.token_times_s) else None for row in self.rows]
        )

    @cached_property
    def output_tokens(self) -> NDArray[np.int64]:
        return np.array([row.output_tokens for row in self.rows], np.int64)

    @cached_property
    def token_times_s(self) -> Seconds:
        """All token times, request after request."""
        return np.concatenate([row.token_times_s for row in self.rows]) if self.rows else NO_TIMES

    @cached_property
    def gaps_s(self) -> Seconds:
        """Every gap between neighbouring tokens of one request (inter-token latencies)."""
        if not len(self.token_times_s):
            return NO_TIMES
        gaps = np.diff(self.token_times_s)
        lengths = np.array([len(row.token_times_s) for row in self.rows])
        borders = np.cumsum(lengths[lengths > 0])[:-1] - 1
        return np.delete(gaps, borders)


def _column(values: Sequence[float | None]) -> Seconds:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def clean_error(text: str) -> str:
    """Make a server's words fit for one line of a terminal or a table: clean, cut, and masked.

    Masked before they are cut: of a key cut in two the first half would stay.
    """
    masked = redact(text)[: 4 * LONGEST_ERROR]
    printable = "".join(char if char.isprintable() else " " for char in masked)
    return " ".join(printable.split())[:LONGEST_ERROR]
