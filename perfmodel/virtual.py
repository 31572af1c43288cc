"""Engines in virtual time: groups of replicas that step together."""

from dataclasses import dataclass, field, replace

import numpy as np

from perfmodel.arrays import FloatArray
from perfmodel.batching import Batcher, BatchLimits, Step
from perfmodel.load import DUMMY, StepLoad
from perfmodel.noise import Noise
from perfmodel.step import StepModel, StepTimes


@dataclass(frozen=True, slots=True)
class StepRun:
    """Steps of the same composition, one after another; `ends_s` is when each ends."""

    plans: tuple[Step | None, ...]
    times: StepTimes
    ends_s: FloatArray
    factors: FloatArray | None
    """Noise on each step's time."""

    @property
    def loads(self) -> tuple[StepLoad, ...]:
        return tuple(plan.load if plan else DUMMY for plan in self.plans)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps of the same composition, as a trace keeps them."""

    loads: tuple[StepLoad, ...]
    steps: int
    waiting: int
    """Requests that have no token yet."""
    unfinished: int


@dataclass(slots=True)
class Ledger:
    """What a server's steps added up to."""

    steps: int = 0
    idle_s: float = 0.0
    """Before a step without anything to do."""
    seconds_by_phase: dict[str, float] = field(default_factory=dict)
    seconds_by_bound: dict[str, float] = field(default_factory=dict)

    def add(self, run: StepRun, steps: int) -> None:
        self.steps += steps
        phase = max((plan.load for plan in run.plans if plan), key=lambda load: load.tokens).phase
        took_s = run.times.total_s[:steps]
        if run.factors is not None:
            took_s = took_s * run.factors[:steps]
        self._count(self.seconds_by_phase, phase, float(took_s.sum()))
        for bound, seconds in run.times.seconds_by_bound(steps, factors=run.factors).items():
            self._count(self.seconds_by_bound, bound, seconds)

    def _count(self, into: dict[str, float], name: str, seconds: float) -> None:
        into[name] = into.get(name, 0.0) + seconds


class ReplicaGroup:
    """Replicas in lockstep, or a single one: at most one run of steps is under way."""

    def __init__(
        self,
        step_model: StepModel,
        limits: BatchLimits,
        *,
        replicas: int,
        noise: Noise | None,
        fast_forward: bool,
    ) -> None:
        self.batchers = [Batcher(limits) for _ in range(replicas)]
        self.ledger = Ledger()
        self.run: StepRun | None = None
        self.trace: list[Stretch] | None = None
        self._model = step_model
        self._noise = noise
        self._fast_forward = fast_forward
        self._ended_s = 0.0

    @property
    def ends_s(self) -> float:
        """When the run under way ends; infinity when idle."""
        return float(self.run.ends_s[-1]) if self.run else np.inf

    def start(self, now_s: float) -> None:
        """Begin the next run of steps, if there is anything to do."""
        plans = tuple(batcher.plan() for batcher in self.batchers)
        if not any(plans):
            self.run = None
            return
        self.ledger.idle_s += now_s - self._ended_s
        steps = self._steady(plans) if self._fast_forward else 1
        times = self._model.times([plan.load if plan else DUMMY for plan in plans], steps)
        factors = self._noise.factors(self.ledger.steps, steps) if self._noise else None
        ends_s = times.total_s * (1.0 if factors is None else factors)
        ends_s[0] += now_s
        self.run = StepRun(plans, times, np.cumsum(ends_s), factors)

    def cut(self, now_s: float) -> None:
        """Let the run end with the step under way at `now_s`, so that an arrival can join."""
        if self.run is None:
            return
        keep = int(np.searchsorted(self.run.ends_s, now_s)) + 1
        self.run = replace(self.run, ends_s=self.run.ends_s[:keep])

    def finish(self) -> list[tuple[int, bool]]:
        """Commit the run under way; return who got its tokens and who is finished."""
        assert self.run is not None
        run, steps = self.run, len(self.run.ends_s)
        self._ended_s = self.ends_s
        self.ledger.add(run, steps)
        if self.trace is not None:
            waiting = sum(batcher.num_unanswered for batcher in self.batchers)
            unfinished = sum(batcher.num_unfinished for batcher in self.batchers)
            self.trace.append(Stretch(run.loads, steps, waiting, unfinished))
        self.run = None
        return [
            entry
            for batcher, plan in zip(self.batchers, run.plans, strict=True)
            if plan is not None
            for entry in batcher.commit(plan, steps)
        ]

    def _steady(self, plans: tuple[Step | None, ...]) -> int:
        both = zip(self.batchers, plans, strict=True)
        return min(batcher.steady_steps(plan) for batcher, plan in both if plan is not None)
