"""Token times out of events: how many tokens each event carried, checked against `usage`."""

import re
from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from catalog.bounded import TOKENS
from workloads.protocol.failure import Failure
from workloads.protocol.gaps import shared_times
from workloads.protocol.openai import Choice, StreamEvent
from workloads.protocol.usage import Usage, count_of
from workloads.transcript import NO_TIMES, Seconds, clean_error

Events = NDArray[np.intp]
"""Places of events."""
MAYBE = -1
"""An event with an empty delta: a token whose text is held back, or nothing at all."""
HELD_GAPS = 3.0
"""Usual gaps that a held-back token may come before the text; what is earlier is no token."""
ABNORMAL = re.compile(
    r"(?i)abort\w*|(?:\w{1,40}_)?error\w*|cancel\w*|fail\w*|time_?out|content_filter|interrupt\w*|shutdown"
    r"|unload\w*|evict\w*|out_of_memory|insufficient\w*|disconnect\w*"
    r"|safety|recitation|sensitive|prohibited_content"
)
"""Reasons with which a server says that it has given an answer up."""


class TokenCounter:
    """Feed it events with their time of arrival; `times` then has one entry a token.

    An event's tokens are known from its `token_ids`, or from `usage` where that runs along: each
    event with content has it, and its count grows. Some servers send it with each event and fill
    it in only at the end, or send the whole count all along: that says nothing of an event.
    Without both, an event with content is one token, and if the final `usage` says more, first
    the empty deltas and then an even share over the events with content make up for it. An empty
    delta before the first text is a token only where the text shows that it can be one: else a
    server that begins with an empty event would have answered before it had read the prompt.

    An answer of more than `most_tokens`, by its events or its `usage`, is a `Failure` at once.
    """

    def __init__(self, most_tokens: int = TOKENS.most) -> None:
        self.stamps_s = array("d")
        self.counts = array("q")
        self.finish_reason = ""
        self.prompt_tokens: int | None = None
        self.cached_tokens: int | None = None
        """Of the prompt, as the server says; None where it says nothing."""
        self.completion_tokens: int | None = None
        self.usage_seen = False
        self._known = self._guessed = False
        self._runs: bool | None = None
        """Whether `usage` runs along; None until an event was counted."""
        self._guesses = array("q")
        """While it does: what the same events hold if it turns out not to."""
        self._thoughts = 0.0
        """Tokens that `usage` says are thoughts."""
        self._shown = False
        """Whether anything was streamed besides the answer's own text."""
        self._most_tokens = most_tokens
        self._listed = 0
        """Tokens that came with their ids, or that cumulative usage has counted so far."""

    @property
    def seen(self) -> int:
        """How many tokens were seen for certain."""
        if self._plain:
            return len(self.counts)
        return sum(count for count in self.counts if count > 0)

    def add_all(self, events: Iterable[StreamEvent], stamps_s: Iterable[float]) -> None:
        """Count events; those that are plainly one token of text are most and go quickly."""
        for event, stamp_s in zip(events, stamps_s, strict=True):
            choice = event.choices[0] if event.choices else None
            if choice and choice.text and choice.token_ids is None and not self._runs:
                told = event.usage or choice.usage or event.x_groq or event.timings
                if told is None:
                    self._guessed = True
                    self.finish_reason = choice.finish_reason or self.finish_reason
                    self.stamps_s.append(stamp_s)
                    self.counts.append(1)
                    continue
            self.add(event, stamp_s)

    def add(self, event: StreamEvent, stamp_s: float) -> None:
        """Count one event; only the first choice is measured, since one is asked for."""
        choice, usage = event.choices[0] if event.choices else None, event.counts
        if usage is not None:
            self._take_usage(usage)
        if event.timings is not None and not self.cached_tokens:
            self.cached_tokens = count_of(event.timings.cache_n, "cached_tokens", TOKENS.most)
        if choice is not None:
            self.finish_reason = choice.finish_reason or self.finish_reason
            self._take(choice, usage, stamp_s)

    def _take(self, choice: Choice, usage: Usage | None, stamp_s: float) -> None:
        if choice.token_ids is not None:
            self._known = True
            count = guess = self._more(len(choice.token_ids))
        else:
            guess = self._guess(choice)
            if self._runs or (self._runs is None and usage is not None and not self.counts):
                count = self._grown(usage, content=guess == 1)
            else:
                count = 0 if self._known and guess == MAYBE else guess
        if count or (self._runs and guess):
            self.stamps_s.append(stamp_s)
            self.counts.append(count)
            if self._runs:
                self._guesses.append(guess)
            elif count == 1 and choice.token_ids is None:
                self._guessed = True

    def _guess(self, choice: Choice) -> int:
        """Return the tokens of an event by its content alone."""
        if choice.has_content:
            self._shown = self._shown or not choice.is_answer
            return 1
        begun = any(self._guesses) if self._runs else bool(self.counts)
        return MAYBE if begun or choice.delta is None else 0

    def _grown(self, usage: Usage | None, *, content: bool) -> int:
        """Return by how much running usage has grown; where it has not although text came, it
        does not run.
        """
        count = 0 if usage is None else max(0, (self.completion_tokens or 0) - self._listed)
        if count or not content:
            self._runs = True
            return self._more(count)
        self._runs = False
        kept = [(s, g) for s, g in zip(self.stamps_s, self._guesses, strict=False) if g]
        self.stamps_s = array("d", (stamp_s for stamp_s, _ in kept))
        self.counts = array("q", (guess for _, guess in kept))
        self._guessed = True
        return 1

    def _take_usage(self, usage: Usage) -> None:
        self.usage_seen = True
        prompt = count_of(usage.prompt, "prompt_tokens", TOKENS.most)
        completion = count_of(usage.completion, "completion_tokens", self._most_tokens)
        cached = count_of(usage.cached, "cached_tokens", TOKENS.most)
        # What a later one leaves out has been said.
        self.prompt_tokens = self.prompt_tokens if prompt is None else prompt
        self.completion_tokens = self.completion_tokens if completion is None else completion
        self.cached_tokens = cached or self.cached_tokens or cached
        self._thoughts = usage.thoughts

    def _more(self, count: int) -> int:
        self._listed += count
        if self._listed > self._most_tokens:
            raise Failure("TOO_LARGE", f"more than {self._most_tokens} tokens")
        return count

    @property
    def _plain(self) -> bool:
        """True if each counted event is known to be one token, as nearly always."""
        total = self.completion_tokens
        return total == len(self.counts) == self.counts.count(1) > 0

    def check(self, requested_tokens: int | None) -> None:
        """Raise `Failure` unless the stream ended as it should and its counts agree."""
        if not self.finish_reason and not self.all_came(requested_tokens):
            what = "the stream ended without a finish_reason"
            raise Failure("NO_FINISH_REASON", f"{what}; {self.seen_of(requested_tokens)}")
        if ABNORMAL.fullmatch(self.finish_reason):
            said = f"finish_reason {clean_error(self.finish_reason)!r}"
            raise Failure("ABORTED", f"the server ended it with {said} after {self.seen} tokens")
        self._check_usage(requested_tokens)
        total = self.completion_tokens
        if total is None:
            raise Failure("TOKEN_COUNT_MISMATCH", "usage.completion_tokens is no whole number")
        if not self.seen and not total:
            raise Failure("ZERO_TOKENS", "the stream ended without a token")
        self._agree(total, requested_tokens)
        if self._thoughts > 0 and not self._shown and self.seen <= total - self._thoughts:
            raise Failure(
                "TOKEN_COUNT_MISMATCH",
                f"{self._thoughts:.0f} of {total} tokens are thoughts that were not streamed: when "
                "they came is not known",
            )

    def _check_usage(self, requested_tokens: int | None) -> None:
        """Where usage does not count the tokens that came, their events must account for all."""
        if not self.completion_tokens and self.seen:
            self.usage_seen = False
        if self.usage_seen:
            return
        if not self.accounted(requested_tokens):
            what = "the stream ended without usage"
            raise Failure("USAGE_MISSING", f"{what}; {self.seen_of(requested_tokens)}")
        self.completion_tokens = requested_tokens

    def seen_of(self, requested_tokens: int | None) -> str:
        return f"{self.seen} tokens seen of {requested_tokens} asked for"

    def accounted(self, requested_tokens: int | None) -> bool:
        """Tell whether, by the events alone, just the tokens asked for have come."""
        held = self.counts.count(MAYBE)
        return requested_tokens is not None and requested_tokens in (self.seen, self.seen + held)

    def all_came(self, requested_tokens: int | None) -> bool:
        """Tell whether just the tokens asked for have come, by the events or by `usage`."""
        told = self.completion_tokens
        return (told is not None and told == requested_tokens) or self.accounted(requested_tokens)

    def _agree(self, total: int, requested_tokens: int | None) -> None:
        seen = self.seen
        exact = (self._known or self._runs) and not self._guessed
        if total < seen or not self.counts or (exact and total != seen):
            raise Failure("TOKEN_COUNT_MISMATCH", f"{seen} tokens seen, usage says {total}")
        if requested_tokens is not None and (
            total > requested_tokens
            or (self.finish_reason == "length" and total != requested_tokens)
        ):
            raise Failure(
                "TOKEN_COUNT_MISMATCH", f"{requested_tokens} tokens asked for, usage says {total}"
            )

    def resolved(self, *, agreed: bool = True) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the tokens of each counted event, its doubts settled by `usage` if it agreed.

        Of an answer that failed, only what was seen for certain counts.
        """
        counts = np.array(self.counts, np.int64)
        missing = self._missing if agreed else 0
        maybe, _ = self._holders(missing)
        counts[counts == MAYBE] = 0
        counts[maybe[: max(0, missing)]] = 1
        missing -= len(maybe)
        carriers = np.flatnonzero(counts)
        if missing > 0 and len(carriers):
            # Shares that differ by at most one, spread evenly: floor((i+1)·m/n) − floor(i·m/n).
            bounds = np.arange(len(carriers) + 1) * missing // len(carriers)
            counts[carriers] += np.diff(bounds)
        return counts

    @property
    def _missing(self) -> int:
        """Tokens of the answer beyond those seen for certain."""
        return (self.completion_tokens or self.seen) - self.seen

    @property
    def first_is_uncertain(self) -> bool:
        """True where an empty event before the first text may or may not have been its token."""
        return self._holders(self._missing)[1]

    def _holders(self, missing: int) -> tuple[Events, bool]:
        """Return the empty events that may hold a token, likeliest first, and whether the first
        token's event is in doubt.
        """
        counts = np.array(self.counts, np.int64)
        maybe, text = np.flatnonzero(counts == MAYBE), np.flatnonzero(counts > 0)
        if not len(text) or missing <= 0:
            return maybe, False
        early, later = maybe[maybe < text[0]], maybe[maybe > text[0]]
        if not len(early):
            return maybe, False
        if len(later) and missing == len(maybe):
            return maybe, False  # text is held back all along, and each event is one token
        if missing > len(maybe):
            return later, True
        near = self._near(early, int(text[0]))
        # As many events as tokens, and none far from the next: each is one.
        certain = missing == len(maybe) and len(near) == len(early)
        return np.concatenate([later, near[::-1]]), not certain

    def _near(self, early: Events, first: int) -> Events:
        """Return those events before the first text that came no earlier than a token would."""
        stamps = np.array(self.stamps_s, np.float64)
        gaps = np.diff(stamps[first:])
        usual = max(HELD_GAPS * float(np.median(gaps)), float(gaps.max())) if len(gaps) else 0.0
        near: Events = early[stamps[first] - stamps[early] <= usual * (first - early)]
        return near

    def clumped(self, *, agreed: bool = True) -> tuple[int, int, int]:
        """Return how many events with tokens came, in how many reads, and how many not alone."""
        stamps = np.array(self.stamps_s, np.float64)
        if not self._plain:
            stamps = stamps[self.resolved(agreed=agreed) > 0]
        together = np.zeros(len(stamps), bool)
        together[1:] = stamps[1:] == stamps[:-1]
        together[:-1] |= together[1:].copy()
        reads = int((stamps[1:] != stamps[:-1]).sum()) + bool(len(stamps))
        return len(stamps), reads, int(together.sum())

    def times(self, *, agreed: bool = True) -> tuple[Seconds, int]:
        """Return one time a token, and how many events carried several; `agreed` as above."""
        if self._plain:
            return np.array(self.stamps_s, np.float64), 0
        counts = self.resolved(agreed=agreed)
        stamps = np.array(self.stamps_s, np.float64)[counts > 0]
        counts = counts[counts > 0]
        several = int((counts > 1).sum())
        if not several:
            return (stamps if len(stamps) else NO_TIMES), 0
        return shared_times(stamps, counts), several
