"""Virtual time: requests against simulated engines, without waiting.

Steps whose composition does not change run as one vectorised stretch, cut where a request arrives;
the times are the same, to the last bit, as those of stepping one by one.
"""

import heapq
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from perfmodel.arrays import FloatArray
from perfmodel.balance import Balancer
from perfmodel.batching import BatchLimits
from perfmodel.constants import Constants
from perfmodel.intake import Intake
from perfmodel.noise import Noise
from perfmodel.sequence import Sequence as BatchedRequest
from perfmodel.step import StepModel
from perfmodel.virtual import ReplicaGroup, Stretch

Hashes = Callable[[int], Sequence[Hashable]]
"""Gives the hashes of a request's full blocks, for servers that share them (`block_hashes`)."""


class RequestSource(Protocol):
    """Says which request is sent when; times are seconds from the start."""

    @property
    def exhausted(self) -> bool: ...
    def take(self, now_s: float) -> list[tuple[int, float]]: ...
    def done(self, request: int, now_s: float) -> None: ...
    def next_due_s(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Simulated:
    """What the requests saw, in order of their number, and what the servers did."""

    due_s: FloatArray
    sent_s: FloatArray
    token_times_s: tuple[FloatArray, ...]
    steps: int
    preemptions: int
    peak_kv_usage: float
    cached_tokens: tuple[int, ...]
    """Of each prompt, what the prefix cache held when it first began."""
    prefix_queries: int
    prefix_hits: int
    seconds_by_phase: dict[str, float]
    seconds_by_bound: dict[str, float]

    @property
    def done_s(self) -> FloatArray:
        return np.array([times[-1] for times in self.token_times_s])


def simulate(  # noqa: PLR0913 - who is served, by what, within which limits, and how exactly
    source: RequestSource,
    lengths: Sequence[tuple[int, int]],
    step_model: StepModel,
    *,
    limits: BatchLimits,
    noise: Noise | None = None,
    fast_forward: bool = True,
    hashes: Hashes | None = None,
) -> Simulated:
    """Serve requests with the given (prompt, output) tokens until the source is exhausted.

    `limits` are those of one replica. Each request goes to the replica with the fewest in flight.
    Without `hashes` no request shares a prefix with another.
    Its stream begins `Constants.first_token_s` after its first token is computed.
    """
    engines = _engines(step_model, limits, noise=noise, fast_forward=fast_forward)
    return _Simulation(source, lengths, engines, step_model.constants, hashes).run()


@dataclass(frozen=True, slots=True)
class Trace:
    """What engines did, and what they waited for."""

    stretches: list[Stretch]
    """In order of their end."""
    idle_s: float
    """Of an engine without a request, in the mean of engines."""
    intake_s: float
    """From a request's sending to its engine, in the mean of requests."""


def trace(
    source: RequestSource,
    lengths: Sequence[tuple[int, int]],
    step_model: StepModel,
    limits: BatchLimits,
) -> Trace:
    """Serve requests as `simulate` does, and keep which steps were taken."""
    engines = _engines(step_model, limits, noise=None, fast_forward=True)
    steps: list[Stretch] = []
    for engine in engines:
        engine.trace = steps
    simulation = _Simulation(source, lengths, engines, step_model.constants)
    simulation.run()
    idle_s = float(np.mean([engine.ledger.idle_s for engine in engines]))
    return Trace(steps, idle_s, simulation.mean_intake_s)


def _engines(
    step_model: StepModel, limits: BatchLimits, *, noise: Noise | None, fast_forward: bool
) -> list[ReplicaGroup]:
    """One group in lockstep, or one for each replica."""
    layout = step_model.layout
    groups, each = (1, layout.dp) if step_model.lockstep else (layout.dp, 1)
    noises = [noise] + [noise.sibling() if noise else None for _ in range(groups - 1)]
    return [
        ReplicaGroup(step_model, limits, replicas=each, noise=one, fast_forward=fast_forward)
        for one in noises
    ]


class _Simulation:
    def __init__(
        self,
        source: RequestSource,
        lengths: Sequence[tuple[int, int]],
        groups: list[ReplicaGroup],
        constants: Constants,
        hashes: Hashes | None = None,
    ) -> None:
        self._source, self._lengths, self._groups = source, lengths, groups
        self._first_token_s = constants.first_token_s
        self._hashes, self._balancer = hashes, Balancer()
        self._sequences: list[BatchedRequest | None] = [None] * len(lengths)
        self._leaving: list[tuple[float, int]] = []
        """Computed whole, and not yet streamed whole."""
        self._replicas = [(group, batcher) for group in groups for batcher in group.batchers]
        self._intakes = [Intake(constants.intake_s) for _ in self._replicas]
        self._coming = 0
        """Sent, and not with an engine yet."""
        self._home = [0] * len(lengths)
        self._due_s = np.full(len(lengths), np.nan)
        self._sent_s = np.full(len(lengths), np.nan)
        self._intake_s = np.zeros(len(lengths))
        self._token_times_s = [np.empty(output) for _, output in lengths]
        self._produced = [0] * len(lengths)

    @property
    def mean_intake_s(self) -> float:
        return float(self._intake_s.mean())

    def run(self) -> Simulated:
        now_s = 0.0
        self._send(now_s)
        while (event_s := self._next_event_s()) is not None:
            now_s = max(now_s, event_s)
            ended = [group for group in self._groups if group.ends_s <= now_s]
            for group in ended:
                self._finish(group)
            while self._leaving and self._leaving[0][0] <= now_s:
                done_s, request = heapq.heappop(self._leaving)
                self._source.done(request, done_s)
            self._send(now_s)
        return self._result()

    def _next_event_s(self) -> float | None:
        """The next end of a run or of a stream, or arrival; None when all are over."""
        next_s = min(group.ends_s for group in self._groups)
        if (due_s := self._source.next_due_s()) is not None:
            next_s = min(next_s, due_s)
        if self._leaving:
            next_s = min(next_s, self._leaving[0][0])
        if self._coming:
            next_s = min(next_s, *(intake.next_s for intake in self._intakes))
        return None if np.isinf(next_s) else next_s

    def _finish(self, group: ReplicaGroup) -> None:
        assert group.run is not None
        ends_s = group.run.ends_s
        for request, finished in group.finish():
            start, times_s = self._produced[request], self._token_times_s[request]
            # A step that ends a prompt gives one token, as does each step of a decode run.
            until = start + len(ends_s)
            first_s = times_s[0] if start else ends_s[0] + self._first_token_s
            times_s[start:until] = np.maximum(ends_s, first_s)
            self._produced[request] = until
            if finished:
                heapq.heappush(self._leaving, (float(times_s[until - 1]), request))

    def _send(self, now_s: float) -> None:
        """Hand out what is due, then start every group that is idle."""
        for request, due_s in self._source.take(now_s):
            self._due_s[request], self._sent_s[request] = due_s, now_s
            chosen = self._balancer.choose(self._unfinished())
            self._home[request] = chosen
            self._intakes[chosen].add(request, now_s)
            self._coming += 1
        if self._coming:
            self._enter_due(now_s)
        for group in self._groups:
            if group.run is None:
                group.start(now_s)

    def _unfinished(self) -> list[int]:
        """Requests of each replica, those on their way to it included."""
        both = zip(self._replicas, self._intakes, strict=True)
        return [batcher.num_unfinished + len(intake) for (_, batcher), intake in both]

    def _enter_due(self, now_s: float) -> None:
        for intake in self._intakes:
            for request in intake.take(now_s):
                self._enter(request, now_s)

    def _enter(self, request: int, now_s: float) -> None:
        """Give a request to its replica's engine; it joins after the step under way."""
        self._coming -= 1
        group, batcher = self._replicas[self._home[request]]
        group.cut(now_s)
        self._intake_s[request] = now_s - self._sent_s[request]
        prompt, output = self._lengths[request]
        hashes = self._hashes(request) if self._hashes else ()
        self._sequences[request] = batcher.add(
            request, prompt_tokens=prompt, output_tokens=output, hashes=hashes
        )

    def _result(self) -> Simulated:
        batchers = [batcher for _, batcher in self._replicas]
        ledgers = [group.ledger for group in self._groups]
        return Simulated(
            due_s=self._due_s,
            sent_s=self._sent_s,
            token_times_s=tuple(self._token_times_s),
            steps=sum(ledger.steps for ledger in ledgers),
            preemptions=sum(batcher.preemptions for batcher in batchers),
            cached_tokens=tuple(each.cached_tokens if each else 0 for each in self._sequences),
            prefix_queries=sum(batcher.prefix_queries for batcher in batchers),
            prefix_hits=sum(batcher.prefix_hits for batcher in batchers),
            peak_kv_usage=max(batcher.peak_kv_usage for batcher in batchers),
            seconds_by_phase=_total([ledger.seconds_by_phase for ledger in ledgers]),
            seconds_by_bound=_total([ledger.seconds_by_bound for ledger in ledgers]),
        )


def _total(parts: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}
