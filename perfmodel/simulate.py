"""Virtual time: requests against simulated engines, without waiting.

Steps whose composition does not change run as one vectorised stretch, cut where a request arrives;
the times are the same, to the last bit, as those of stepping one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from perfmodel.arrays import FloatArray
from perfmodel.batching import Limits
from perfmodel.load import StepLoad
from perfmodel.noise import Noise
from perfmodel.step import StepModel
from perfmodel.virtual import Group


class Source(Protocol):
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
    seconds_by_phase: dict[str, float]
    seconds_by_bound: dict[str, float]

    @property
    def done_s(self) -> FloatArray:
        return np.array([times[-1] for times in self.token_times_s])


def simulate(
    source: Source,
    lengths: Sequence[tuple[int, int]],
    step_model: StepModel,
    *,
    limits: Limits,
    noise: Noise | None = None,
    fast_forward: bool = True,
) -> Simulated:
    """Serve requests with the given (prompt, output) tokens until the source is exhausted.

    `limits` are those of one replica. Each request goes to the replica with the fewest in flight.
    """
    engines = _engines(step_model, limits, noise=noise, fast_forward=fast_forward)
    return _Simulation(source, lengths, engines).run()


def trace(
    source: Source, lengths: Sequence[tuple[int, int]], step_model: StepModel, limits: Limits
) -> list[tuple[tuple[StepLoad, ...], int]]:
    """Return the loads of each stretch of steps, in order of their end, and its length."""
    engines = _engines(step_model, limits, noise=None, fast_forward=True)
    steps: list[tuple[tuple[StepLoad, ...], int]] = []
    for engine in engines:
        engine.trace = steps
    _Simulation(source, lengths, engines).run()
    return steps


def _engines(
    step_model: StepModel, limits: Limits, *, noise: Noise | None, fast_forward: bool
) -> list[Group]:
    """One group in lockstep, or one for each replica."""
    layout = step_model.layout
    groups, each = (1, layout.dp) if step_model.lockstep else (layout.dp, 1)
    noises = [noise] + [noise.sibling() if noise else None for _ in range(groups - 1)]
    return [
        Group(step_model, limits, replicas=each, noise=one, fast_forward=fast_forward)
        for one in noises
    ]


class _Simulation:
    def __init__(
        self, source: Source, lengths: Sequence[tuple[int, int]], groups: list[Group]
    ) -> None:
        self._source, self._lengths, self._groups = source, lengths, groups
        self._replicas = [(group, batcher) for group in groups for batcher in group.batchers]
        self._due_s = np.full(len(lengths), np.nan)
        self._sent_s = np.full(len(lengths), np.nan)
        self._token_times_s = [np.empty(output) for _, output in lengths]
        self._produced = [0] * len(lengths)

    def run(self) -> Simulated:
        now_s = 0.0
        self._send(now_s)
        while (event_s := self._next_event_s()) is not None:
            now_s = max(now_s, event_s)
            ended = [group for group in self._groups if group.ends_s <= now_s]
            for group in ended:
                self._finish(group)
            self._send(now_s)
        return self._result()

    def _next_event_s(self) -> float | None:
        """The next end of a run or arrival; None when both are over."""
        end_s = min(group.ends_s for group in self._groups)
        due_s = self._source.next_due_s()
        if due_s is None and np.isinf(end_s):
            return None
        return end_s if due_s is None else min(end_s, due_s)

    def _finish(self, group: Group) -> None:
        assert group.run is not None
        ends_s = group.run.ends_s
        for request, finished in group.finish():
            start = self._produced[request]
            # A step that ends a prompt gives one token, as does each step of a decode run.
            self._token_times_s[request][start : start + len(ends_s)] = ends_s
            self._produced[request] = start + len(ends_s)
            if finished:
                self._source.done(request, float(ends_s[-1]))

    def _send(self, now_s: float) -> None:
        """Hand out what is due, then start every group that is idle."""
        for request, due_s in self._source.take(now_s):
            self._due_s[request], self._sent_s[request] = due_s, now_s
            prompt, output = self._lengths[request]
            group, batcher = min(self._replicas, key=lambda pair: pair[1].num_unfinished)
            group.cut(now_s)
            batcher.add(request, prompt_tokens=prompt, output_tokens=output)
        for group in self._groups:
            if group.run is None:
                group.start(now_s)

    def _result(self) -> Simulated:
        batchers = [batcher for _, batcher in self._replicas]
        ledgers = [group.ledger for group in self._groups]
        return Simulated(
            due_s=self._due_s,
            sent_s=self._sent_s,
            token_times_s=tuple(self._token_times_s),
            steps=sum(ledger.steps for ledger in ledgers),
            preemptions=sum(batcher.preemptions for batcher in batchers),
            peak_kv_usage=max(batcher.peak_kv_usage for batcher in batchers),
            seconds_by_phase=_total([ledger.seconds_by_phase for ledger in ledgers]),
            seconds_by_bound=_total([ledger.seconds_by_bound for ledger in ledgers]),
        )


def _total(parts: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}
