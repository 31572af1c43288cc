"""Token times out of events: how many tokens each event carried, checked against `usage`."""

from array import array
from collections.abc import Iterable

import numpy as np

from workloads.failure import Failure
from workloads.openai import Choice, Event, Usage, whole
from workloads.transcript import NO_TIMES, Seconds

MAYBE = -1
"""An event with an empty delta: a token whose text is held back, or nothing at all."""


class TokenCounter:
    """Feed it events with their time of arrival; `times` then has one entry a token.

    An event's tokens are known from its `token_ids`, or from `usage` where each event carries it.
    Without both, an event with content is one token, and if the final `usage` says more, first
    the empty deltas and then an even share over the events with content make up for it.
    """

    def __init__(self) -> None:
        self.stamps_s = array("d")
        self.counts = array("q")
        self.finish_reason = ""
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.usage_seen = False
        self._known = self._guessed = False
        self._cumulative = False

    @property
    def seen(self) -> int:
        """How many tokens were seen for certain."""
        if self._plain:
            return len(self.counts)
        return sum(count for count in self.counts if count > 0)

    def add_all(self, events: Iterable[Event], stamps_s: Iterable[float]) -> None:
        """Count events; those that are plainly one token of text are most and go quickly."""
        for event, stamp_s in zip(events, stamps_s, strict=True):
            choice = event.choices[0] if event.choices else None
            if choice and choice.text and event.usage is None and choice.token_ids is None:
                self._guessed = True
                self.finish_reason = choice.finish_reason or self.finish_reason
                self.stamps_s.append(stamp_s)
                self.counts.append(1)
            else:
                self.add(event, stamp_s)

    def add(self, event: Event, stamp_s: float) -> None:
        """Count one event; only the first choice is measured, since one is asked for."""
        choice = event.choices[0] if event.choices else None
        if choice is not None:
            self.finish_reason = choice.finish_reason or self.finish_reason
            count = self._count(choice, event.usage)
            if count != 0:
                self.stamps_s.append(stamp_s)
                self.counts.append(count)
        if event.usage is not None:
            self.usage_seen = True
            self.prompt_tokens = whole(event.usage.prompt_tokens)
            self.completion_tokens = whole(event.usage.completion_tokens)

    def _count(self, choice: Choice, usage: Usage | None) -> int:
        if choice.token_ids is not None:
            self._known = True
            return len(choice.token_ids)
        # Only a server that reports usage from the first token on reports it cumulatively.
        if usage is not None and (self._cumulative or not self.counts):
            self._known = self._cumulative = True
            now = whole(usage.completion_tokens) or 0
            return max(0, now - (self.completion_tokens or 0))
        if choice.has_content:
            self._guessed = True
            return 1
        role_only = choice.delta is not None and not self.counts
        return 0 if role_only or self._known else MAYBE

    @property
    def _plain(self) -> bool:
        """True if each counted event is known to be one token, as nearly always."""
        total = self.completion_tokens
        return total == len(self.counts) == self.counts.count(1) > 0

    def check(self, asked: int | None) -> None:
        """Raise `Failure` unless the stream ended as it should and its counts agree."""
        if not self.finish_reason:
            raise Failure("NO_FINISH_REASON", "the stream ended without a finish_reason")
        if not self.usage_seen:
            raise Failure("USAGE_MISSING", "the stream ended without usage")
        total = self.completion_tokens
        if total is None:
            raise Failure("TOKEN_COUNT_MISMATCH", "usage.completion_tokens is no whole number")
        if not self.seen and not total:
            raise Failure("ZERO_TOKENS", "the stream ended without a token")
        self._agree(total, asked)

    def _agree(self, total: int, asked: int | None) -> None:
        seen = self.seen
        exact = self._known and not self._guessed
        if total < seen or not self.counts or (exact and total != seen):
            raise Failure("TOKEN_COUNT_MISMATCH", f"{seen} tokens seen, usage says {total}")
        if asked is not None and (
            total > asked or (self.finish_reason == "length" and total != asked)
        ):
            raise Failure("TOKEN_COUNT_MISMATCH", f"{asked} tokens asked for, usage says {total}")

    def resolved(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the tokens of each counted event, its doubts settled by `usage`."""
        counts = np.array(self.counts, np.int64)
        certain = int(counts[counts > 0].sum())
        missing = (self.completion_tokens or certain) - certain
        maybe = np.flatnonzero(counts == MAYBE)
        counts[maybe] = 0
        counts[maybe[: max(0, missing)]] = 1
        missing -= len(maybe)
        carriers = np.flatnonzero(counts)
        if missing > 0 and len(carriers):
            # Shares that differ by at most one, spread evenly: floor((i+1)·m/n) − floor(i·m/n).
            bounds = np.arange(len(carriers) + 1) * missing // len(carriers)
            counts[carriers] += np.diff(bounds)
        return counts

    def times(self) -> tuple[Seconds, int]:
        """Return one time a token, and how many events carried several.

        k tokens that arrive at t after a token at p are given p + (t−p)·j/k for j = 1 … k: the
        gap is shared over them. Tokens of the first event all have its time.
        """
        if self._plain:
            return np.array(self.stamps_s, np.float64), 0
        counts = self.resolved()
        stamps = np.array(self.stamps_s, np.float64)[counts > 0]
        counts = counts[counts > 0]
        several = int((counts > 1).sum())
        if not several:
            return (stamps if len(stamps) else NO_TIMES), 0
        before = np.concatenate([stamps[:1], stamps[:-1]])
        ends = np.cumsum(counts)
        rank = np.arange(1, ends[-1] + 1) - np.repeat(ends - counts, counts)
        share = rank / np.repeat(counts, counts)
        gap = np.repeat(stamps - before, counts)
        times = np.repeat(before, counts) + gap * share
        # The last token of an event has the event's own time, free of rounding.
        times[ends - 1] = stamps
        return times, several
