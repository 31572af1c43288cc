"""Dispatch of conversations: a turn is due a while after the end of the one before it."""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from workloads.load.dispatch import standby_of


@dataclass(frozen=True, slots=True)
class Turns:
    """Which request follows which, in order of the requests.

    `following[i]` is the request of the turn after request i, negative for none; `think_s[i]` is
    how long after the end of the turn before it request i is due.
    """

    following: Sequence[int]
    think_s: Sequence[float]

    @property
    def first(self) -> list[int]:
        """The requests that follow none, in order."""
        later = {request for request in self.following if request >= 0}
        return [request for request in range(len(self.following)) if request not in later]


class TurnDispatcher:
    """A `Dispatch` of sessions, without knowing any clock.

    First turns are handed out as `Dispatcher` hands out its requests: in order, when a slot is
    free, or at their drawn times. When turn t ends, turn t + 1 is due `think_s` later. A slot is
    held by a request, not by a session: in a closed loop `max_concurrency` requests are in flight,
    and a turn that is due goes before a session that has not begun. `due_s` counts for first turns
    alone.
    """

    has_turns = True

    def __init__(
        self, turns: Turns, *, max_concurrency: int | None, due_s: Sequence[float] | None
    ) -> None:
        if max_concurrency is not None and max_concurrency < 1:
            raise ValueError(f"max_concurrency must be at least 1, not {max_concurrency}")
        self.count = len(turns.following)
        self._turns = turns
        self._first = deque(turns.first)
        self._due_s = due_s
        self.slots = self.count if max_concurrency is None else min(max_concurrency, self.count)
        self._free_at_s = deque([0.0] * self.slots)
        self._ready: list[tuple[float, int]] = []
        self._taken: set[int] = set()
        self._left = self.count
        first_s = None if due_s is None else [due_s[request] for request in self._first]
        self._standby = standby_of(self.slots, first_s)

    @property
    def in_flight(self) -> int:
        return len(self._taken)

    @property
    def standby(self) -> int:
        return self._standby

    @property
    def exhausted(self) -> bool:
        """True once every request has been handed out."""
        return not self._left

    def take(self, now_s: float, most: int | None = None) -> list[tuple[int, float]]:
        """Return the requests to send now, no more than `most`, each with the time it was due."""
        taken: list[tuple[int, float]] = []
        while len(taken) != most:
            if (found := self._next()) is None or found[0] > now_s:
                break
            due_s, request = found
            if self._ready and self._ready[0][1] == request:
                heapq.heappop(self._ready)
            else:
                self._first.popleft()
            self._free_at_s.popleft()
            self._taken.add(request)
            self._left -= 1
            taken.append((request, due_s))
        return taken

    def done(self, request: int, now_s: float) -> None:
        """Free the slot of a request that has ended, well or badly, and let the next turn come."""
        if request not in self._taken:
            raise ValueError(f"request {request} is not in flight")
        self._taken.remove(request)
        self._free_at_s.append(now_s)
        if (after := self._turns.following[request]) >= 0:
            heapq.heappush(self._ready, (now_s + self._turns.think_s[after], after))

    def next_due_s(self) -> float | None:
        """Return when the next request is due; None when none is left or no slot is free."""
        found = self._next()
        return None if found is None else found[0]

    def _next(self) -> tuple[float, int] | None:
        """The request that is handed out next, with the time it is due.

        Of those due already a later turn goes first; else whichever is due first.
        """
        if not self._free_at_s or not (self._ready or self._first):
            return None
        if self._due_s is not None:
            return self._open_loop()
        free_s = self._free_at_s[0]
        if self._ready and (self._ready[0][0] <= free_s or not self._first):
            ready_s, request = self._ready[0]
            return max(ready_s, free_s), request
        return free_s, self._first[0]

    def _open_loop(self) -> tuple[float, int]:
        assert self._due_s is not None
        candidates = [self._ready[0]] if self._ready else []
        if self._first:
            candidates.append((float(self._due_s[self._first[0]]), self._first[0]))
        return min(candidates)
