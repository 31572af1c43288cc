"""What a server's front end takes of requests before its engine has them.

vLLM's API server is one Python process beside each engine, and works while the GPU does. Its event
loop turns from one request to the next at every stage (parse, tokenise, check, hand over), so those
that come together share it, and reach the engine together.
"""

import heapq

import numpy as np


class Intake:
    """Processor sharing: with n requests on their way each gets 1 / n of one process.

    `_served_s` counts what each of them has had since the start (their virtual time): a request
    that needs s leaves when it is s more than when it came (Kleinrock 1967's discipline).
    """

    def __init__(self, request_s: float) -> None:
        self._request_s = request_s
        self._served_s = self._now_s = 0.0
        self._leaving: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._leaving)

    def add(self, request: int, now_s: float) -> None:
        """Let a request in; times of all calls are in order."""
        if self._leaving:
            self._served_s += (now_s - self._now_s) / len(self._leaving)
        self._now_s = now_s
        heapq.heappush(self._leaving, (self._served_s + self._request_s, request))

    @property
    def next_s(self) -> float:
        """When the next one reaches the engine; infinity if there is none."""
        if not self._leaving:
            return np.inf
        return self._now_s + (self._leaving[0][0] - self._served_s) * len(self._leaving)

    def take(self, now_s: float) -> list[int]:
        """Those that reach the engine at `next_s`, if that is now."""
        if self.next_s > now_s:
            return []
        self._now_s, self._served_s = now_s, self._leaving[0][0]
        taken = []
        while self._leaving and self._leaving[0][0] <= self._served_s:
            taken.append(heapq.heappop(self._leaving)[1])
        return taken
