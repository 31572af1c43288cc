"""What is known of each request of a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Transcript:
    """The requests of a run as columns, (n,) each: what metrics are made of; NaN is None."""

    status: NDArray[np.object_]
    part: NDArray[np.object_]
    due_s: Seconds
    sent_s: Seconds
    first_token_s: Seconds
    done_s: Seconds
    input_tokens: NDArray[np.int64]
    """0 where nobody knows."""
    output_tokens: NDArray[np.int64]
    token_counts: NDArray[np.int64]
    """Entries of each request in `token_times_s`."""
    token_times_s: Seconds
    """All token times, (Σ token_counts,), request after request."""

    @classmethod
    def of(cls, rows: "Iterable[RequestRow] | Transcript") -> "Transcript":
        """Return the columns of rows; a transcript is its own."""
        if isinstance(rows, Transcript):
            return rows
        rows = tuple(rows)
        return cls(
            status=np.array([row.status for row in rows], np.object_),
            part=np.array([row.part for row in rows], np.object_),
            due_s=_column([row.due_s for row in rows]),
            sent_s=_column([row.sent_s for row in rows]),
            first_token_s=_column([row.first_token_s for row in rows]),
            done_s=_column([row.done_s for row in rows]),
            input_tokens=np.array([row.input_tokens or 0 for row in rows], np.int64),
            output_tokens=np.array([row.output_tokens for row in rows], np.int64),
            token_counts=np.array([len(row.token_times_s) for row in rows], np.int64),
            token_times_s=np.concatenate([NO_TIMES, *(row.token_times_s for row in rows)]),
        )

    def __len__(self) -> int:
        return len(self.status)

    @cached_property
    def completed(self) -> "Transcript":
        return self.where(self.status == "ok")

    def where(self, chosen: NDArray[np.bool_]) -> "Transcript":
        """Return the requests that a mask, (n,), chooses."""
        if chosen.all():
            return self
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        times_s = columns.pop("token_times_s")[np.repeat(chosen, self.token_counts)]
        kept = {name: column[chosen] for name, column in columns.items()}
        return Transcript(**kept, token_times_s=times_s)

    def sent_within(self, start_s: float, end_s: float) -> NDArray[np.bool_]:
        """Return which requests were sent between two instants, both included."""
        sent_s = np.where(np.isnan(self.sent_s), 0.0, self.sent_s)
        found: NDArray[np.bool_] = (start_s <= sent_s) & (sent_s <= end_s)
        return found

    @cached_property
    def last_token_s(self) -> Seconds:
        some = self.token_counts > 0
        last_s = np.full(len(self), np.nan)
        last_s[some] = self.token_times_s[np.cumsum(self.token_counts)[some] - 1]
        return last_s

    @cached_property
    def gaps_s(self) -> Seconds:
        """Every gap between neighbouring tokens of one request (inter-token latencies)."""
        if not len(self.token_times_s):
            return NO_TIMES
        within = np.ones(len(self.token_times_s) - 1, np.bool_)
        within[np.cumsum(self.token_counts[self.token_counts > 0])[:-1] - 1] = False
        gaps: Seconds = np.diff(self.token_times_s)[within]
        return gaps


def _column(values: Sequence[float | None]) -> Seconds:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def clean_error(text: str) -> str:
    """Make a server's words fit for one line of a terminal or a table: clean, cut, and masked.

    Masked before they are cut: of a key cut in two the first half would stay.
    """
    masked = redact(text)[: 4 * LONGEST_ERROR]
    printable = "".join(char if char.isprintable() else " " for char in masked)
    return " ".join(printable.split())[:LONGEST_ERROR]
