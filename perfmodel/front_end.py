"""What a server's front end takes: a Python process that lets requests in and streams tokens out.

vLLM's API server runs beside its engine, one process a data-parallel replica, and works while the
GPU does, so a server gives the less of what its steps and its front end give. Its event loop turns
from one request to the next at every stage (parse, tokenise, check, hand over): requests that come
together share it and reach the engine together. What a step's tokens take (text, chunk, socket)
waits for the tokens of the step before.
"""

import heapq

import numpy as np

from perfmodel.arrays import FloatArray
from perfmodel.constants import Constants


class Intake:
    """Requests on their way to the engine, all of them served at once, each as fast as the others.

    With n of them there a request gets 1 / n of the process: `_served_s` counts what each has had
    since the start, and a request leaves when that is `intake_s` more than when it came.
    """

    def __init__(self, request_s: float) -> None:
        self._request_s = request_s
        self._served_s = self._now_s = 0.0
        self._leaving: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._leaving)

    def add(self, request: int, now_s: float) -> None:
        self._advance(now_s)
        heapq.heappush(self._leaving, (self._served_s + self._request_s, request))

    @property
    def next_s(self) -> float:
        """When the next one reaches the engine; infinity if there is none."""
        if not self._leaving:
            return np.inf
        return self._now_s + (self._leaving[0][0] - self._served_s) * len(self._leaving)

    def take(self, now_s: float) -> list[int]:
        """Those that have reached the engine by now, which is no later than `next_s`."""
        if self.next_s > now_s:
            return []
        self._now_s, self._served_s = now_s, self._leaving[0][0]
        taken = []
        while self._leaving and self._leaving[0][0] <= self._served_s:
            taken.append(heapq.heappop(self._leaving)[1])
        return taken

    def _advance(self, now_s: float) -> None:
        if self._leaving:
            self._served_s += (now_s - self._now_s) / len(self._leaving)
        self._now_s = now_s


class FrontEnd:
    """One replica's process."""

    def __init__(self, constants: Constants) -> None:
        self.intake = Intake(constants.intake_s)
        self._token_s = constants.stream_s
        self._streamed_s = 0.0

    def stream(self, ends_s: FloatArray, sequences: int) -> FloatArray:
        """When the tokens of steps that end at `ends_s`, one a sequence, are with their clients.

        d_k = max(e_k, d_(k-1)) + sequences · stream_s, shape (steps,).
        """
        if not self._token_s:
            return ends_s
        work_s, free_s = self._token_s * sequences, self._streamed_s
        streamed_s = np.empty_like(ends_s)
        for at, end_s in enumerate(ends_s.tolist()):
            free_s = streamed_s[at] = max(end_s, free_s) + work_s
        self._streamed_s = free_s
        return streamed_s
