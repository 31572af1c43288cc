"""The simplest source of requests: so many in flight until all are done."""

from collections import deque


class ClosedLoop:
    """Send each request when one of `concurrency` slots is free."""

    def __init__(self, count: int, concurrency: int) -> None:
        self._waiting = deque(range(count))
        self._free_at_s = deque([0.0] * min(count, concurrency))

    @property
    def exhausted(self) -> bool:
        return not self._waiting

    def take(self, now_s: float) -> list[tuple[int, float]]:
        taken = []
        while self._waiting and self._free_at_s and self._free_at_s[0] <= now_s:
            taken.append((self._waiting.popleft(), self._free_at_s.popleft()))
        return taken

    def done(self, request: int, now_s: float) -> None:  # noqa: ARG002 (every slot is alike)
        self._free_at_s.append(now_s)

    def next_due_s(self) -> float | None:
        return self._free_at_s[0] if self._waiting and self._free_at_s else None
