"""Which request is due when: closed loop, open loop, or open loop under a cap."""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

SOON_S = 1.0
SPARE = 8


class Dispatch(Protocol):
    """What a client needs of a dispatcher; times are seconds from the start of the run."""

    @property
    def in_flight(self) -> int: ...
    @property
    def exhausted(self) -> bool: ...
    @property
    def slots(self) -> int: ...
    @property
    def standby(self) -> int: ...
    @property
    def has_turns(self) -> bool:
        """Whether the end of a request may make another one due before those that are known."""
        ...

    def take(self, now_s: float, most: int | None = None) -> list[tuple[int, float]]: ...
    def done(self, request: int, now_s: float) -> None: ...
    def next_due_s(self) -> float | None: ...


def standby_of(slots: int, due_s: Sequence[float] | None) -> int:
    """How many connections are worth opening ahead: what may be due within a second."""
    return slots if due_s is None else min(slots, bisect_right(due_s, SOON_S) + SPARE)


class Dispatcher:
    """Hand out requests 0 … count-1, each once and in order, without knowing any clock.

    - Closed loop (`max_concurrency` alone): a request is due when its slot becomes free.
    - Open loop (`due_s` alone): a request is due at its drawn time, whatever is in flight.
    - Open loop under a cap (both): due at its drawn time, handed out once a slot is free as well;
      the wait for the slot counts, since the due time stays the drawn one.
    - Neither: everything is due at 0.
    """

    has_turns = False

    def __init__(
        self, count: int, *, max_concurrency: int | None, due_s: Sequence[float] | None
    ) -> None:
        if max_concurrency is not None and max_concurrency < 1:
            raise ValueError(f"max_concurrency must be at least 1, not {max_concurrency}")
        if due_s is not None and len(due_s) != count:
            raise ValueError(f"{len(due_s)} due times for {count} requests")
        if due_s is not None and any(later < earlier for earlier, later in pairwise(due_s)):
            raise ValueError("due times must not decrease")
        self.count = count
        self.slots = count if max_concurrency is None else min(max_concurrency, count)
        """The most that can be in flight."""
        self._due_s = due_s
        self._free_at_s = deque([0.0] * self.slots)
        self._next = 0
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def standby(self) -> int:
        return standby_of(self.slots, self._due_s)

    @property
    def exhausted(self) -> bool:
        """True once every request has been handed out."""
        return self._next >= self.count

    def take(self, now_s: float, most: int | None = None) -> list[tuple[int, float]]:
        """Return the requests to send now, no more than `most`, each with the time it was due."""
        taken: list[tuple[int, float]] = []
        while len(taken) != most:
            if (due_s := self.next_due_s()) is None or due_s > now_s:
                break
            self._free_at_s.popleft()
            taken.append((self._next, due_s))
            self._next += 1
            self._in_flight += 1
        return taken

    def done(self, request: int, now_s: float) -> None:
        """Free the slot of a request that has ended, well or badly."""
        if not 0 <= request < self._next or self._in_flight == 0:
            raise ValueError(f"request {request} is not in flight")
        self._in_flight -= 1
        self._free_at_s.append(now_s)

    def next_due_s(self) -> float | None:
        """Return when the next request is due; None when none is left or no slot is free."""
        if self.exhausted or not self._free_at_s:
            return None
        if self._due_s is None:
            return self._free_at_s[0]
        return float(self._due_s[self._next])
