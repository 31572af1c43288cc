"""One step taken apart: what each phase moves and computes, and what bounds it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfmodel.kernel_tables.kernels import FORMULA, TABLE
from perfmodel.load import StepLoad
from perfmodel.phases import PhaseCost
from perfmodel.step import Bound, StepModel, StepTimes


@dataclass(frozen=True, slots=True)
class StepPart:
    """One phase of a step on the busiest GPU."""

    name: str
    moved_bytes: float
    flops: float
    seconds: float
    bound: Bound
    priced_by: str = FORMULA


@dataclass(frozen=True, slots=True)
class StepAttribution:
    """What reading memory, computing and exposed communication of a step take, each alone.

    As the qs paper's section 6.2 and Table 5: sums over the phases by the formulas, whatever
    measured kernels say of a phase as a whole. A step takes less where they overlap, and more by
    its launches and the host.
    """

    hbm_s: float
    compute_s: float
    communication_s: float

    def a_token(self, tokens: int) -> dict[str, float]:
        """Seconds over the tokens of all replicas of the step."""
        parts = (
            ("hbm", self.hbm_s),
            ("compute", self.compute_s),
            ("communication", self.communication_s),
        )
        return {name: seconds / tokens for name, seconds in parts}


@dataclass(frozen=True, slots=True)
class StepCost:
    """A step's time, its parts, and the bound that most of it comes from."""

    seconds: float
    parts: tuple[StepPart, ...]
    seconds_by_bound: dict[Bound, float]
    attribution: StepAttribution

    @property
    def bound(self) -> Bound:
        return max(self.seconds_by_bound, key=lambda name: self.seconds_by_bound[name])

    @property
    def moved_bytes(self) -> float:
        """Bytes the busiest GPU reads from its memory."""
        return sum(part.moved_bytes for part in self.parts)


def step_cost(step_model: StepModel, loads: Sequence[StepLoad]) -> StepCost:
    """Take apart the step of replicas in lockstep, or of a single one."""
    times = step_model.times(loads)
    fullest = max(loads, key=lambda load: load.tokens)
    ways = step_model.micro_batches(fullest)
    phases = step_model.phases
    costs = [
        phases.attention(fullest, np.zeros(1), ways=ways),
        *phases.local(fullest.tokens, sampled=fullest.sampled, ways=ways),
    ]
    experts = phases.experts(sum(step_model.micro_tokens(load) for load in loads))
    costs += [experts] if experts else []
    parts = [_part(cost) for cost in costs]
    return StepCost(
        seconds=float(times.total_s[0]),
        parts=(*parts, *_other_parts(step_model, times, loads)),
        seconds_by_bound=times.seconds_by_bound(1),
        attribution=StepAttribution(
            hbm_s=sum(_first(cost.memory_s) for cost in costs),
            compute_s=sum(_first(cost.compute_s) for cost in costs),
            communication_s=_first(times.communication_s),
        ),
    )


def _part(cost: PhaseCost) -> StepPart:
    memory_s, compute_s = _first(cost.memory_s), _first(cost.compute_s)
    seconds = _first(cost.seconds)
    return StepPart(
        name=cost.name,
        moved_bytes=_first(cost.moved_bytes),
        flops=_first(cost.flops),
        seconds=seconds,
        bound="memory" if memory_s >= compute_s else "compute",
        priced_by=TABLE if math.isfinite(_first(cost.kernel_s)) else FORMULA,
    )


def _other_parts(
    step_model: StepModel, times: StepTimes, loads: Sequence[StepLoad]
) -> tuple[StepPart, ...]:
    most = max(map(step_model.micro_tokens, loads))
    exchange = step_model.fabric.exchange(most)
    reduced_by = TABLE if step_model.fabric.reduce_measured(most) else FORMULA
    context_s = max(map(step_model.context_s, loads))
    sent = (
        ("all-reduce", exchange.tensor_s, reduced_by),
        ("expert dispatch", exchange.expert_s, FORMULA),
        ("pipeline hops", exchange.pipeline_s, FORMULA),
        ("context exchange", context_s, FORMULA),
        ("weights brought in", step_model.brought_s, FORMULA),
    )
    parts = [
        StepPart(name, 0.0, 0.0, seconds, "communication", by)
        for name, seconds, by in sent
        if seconds
    ]
    launch = StepPart("launches", 0.0, 0.0, step_model.launch_s, "launch")
    return (*parts, launch, StepPart("host", 0.0, 0.0, _first(times.host_s), "host"))


def _first(value: object) -> float:
    return float(np.ravel(np.asarray(value))[0])
