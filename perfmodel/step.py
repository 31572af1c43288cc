"""Time of one engine step, and what bounds it.

    t = max(launches t_k, Σ_phases max(bytes / BW, FLOP / peak) + exposed communication)
        + t_step + σ sequences + growth

Within a phase reading and computing overlap; phases follow one another. Replicas that share experts
go in lockstep: every layer waits for the slowest of them, and one without work runs a dummy token.
Pipeline stages are kept full by micro-batches, so a step of all of them costs the whole model's
layers at 1/pp of the load.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.arrays import FloatArray, Real
from perfmodel.collectives import exposed
from perfmodel.constants import Constants, default_calibration
from perfmodel.exchange import Fabric
from perfmodel.experts import UNIFORM, Routing
from perfmodel.launches import growth_s, launches_per_step
from perfmodel.load import StepLoad
from perfmodel.phases import PhaseCost, Phases
from strategies.layout import Layout


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Times of consecutive steps, shape (steps,) each, and their parts, which add up to them.

    A launch-bound step is all `launch_s` but for the host's part.
    """

    total_s: FloatArray
    launch_s: FloatArray
    memory_s: FloatArray
    compute_s: FloatArray
    communication_s: FloatArray
    host_s: float


@dataclass(frozen=True, slots=True)
class _Rank:
    """One replica's own part of a step: seconds bound by memory, by compute, and both."""

    memory_s: FloatArray
    compute_s: FloatArray

    @property
    def seconds(self) -> FloatArray:
        return self.memory_s + self.compute_s


class StepModel:
    """Step times of one model in one layout on one kind of GPU."""

    def __init__(
        self,
        model: Model,
        layout: Layout,
        gpu: Gpu,
        *,
        constants: Constants | None = None,
        routing: Routing = UNIFORM,
        kv_dtype: str | None = None,
    ) -> None:
        self.model, self.layout, self.gpu = model, layout, gpu
        self.constants = constants or default_calibration(gpu.name)
        self.phases = Phases(
            model, layout, gpu, constants=self.constants, routing=routing, kv_dtype=kv_dtype
        )
        self.fabric = Fabric(model, layout, gpu, self.constants)
        self.launch_s = launches_per_step(model, layout, self.constants) * self.constants.kernel_s

    @property
    def lockstep(self) -> bool:
        """True when replicas share experts, and so wait for each other in every layer."""
        return self.layout.dp > 1 and self.model.experts is not None

    def micro_batches(self, load: StepLoad) -> int:
        """Parts a step is cut into to fill the pipeline; a sequence is never cut."""
        return min(self.layout.pp, max(1, load.sequences))

    def times(self, loads: Sequence[StepLoad], steps: int = 1) -> StepTimes:
        """Price `steps` steps that begin with `loads`, one load a replica in lockstep.

        More than one step only of decode loads, each context one longer every time.
        """
        ahead = np.arange(steps, dtype=np.float64)
        slowest = _slowest([self._rank(load, ahead) for load in loads])
        tokens = [self.micro_tokens(load) for load in loads]
        experts = self.phases.experts(sum(tokens))
        memory_s, compute_s = _split(experts) if experts else (0.0, 0.0)
        exchange = self.fabric.exchange(max(tokens))
        overlap = self.constants.overlap
        shown = exposed(exchange.tensor_s, slowest.seconds, overlap=overlap)
        shown = shown + exposed(exchange.expert_s, memory_s + compute_s, overlap=overlap)
        return self._compose(
            _Rank(slowest.memory_s + memory_s, slowest.compute_s + compute_s),
            shown + exchange.pipeline_s,
            max(load.sequences for load in loads),
        )

    def micro_tokens(self, load: StepLoad) -> float:
        """Tokens of one micro-batch, at least the dummy's one."""
        return max(load.tokens / self.micro_batches(load), 1.0)

    def _rank(self, load: StepLoad, ahead: FloatArray) -> _Rank:
        ways = self.micro_batches(load)
        memory_s, compute_s = _split(self.phases.attention(load, ahead, ways=ways))
        for phase in self.phases.local(load, ways=ways):
            more_memory_s, more_compute_s = _split(phase)
            memory_s, compute_s = memory_s + more_memory_s, compute_s + more_compute_s
        return _Rank(np.asarray(memory_s), np.asarray(compute_s))

    def _compose(self, work: _Rank, communication_s: Real, sequences: int) -> StepTimes:
        gpu_s = work.seconds + communication_s
        host_s = self.constants.step_s + self.constants.sequence_s * sequences
        host_s += growth_s(self.model, self.layout, self.constants, sequences=sequences)
        busy = gpu_s >= self.launch_s
        return StepTimes(
            total_s=np.maximum(gpu_s, self.launch_s) + host_s,
            launch_s=np.where(busy, 0.0, self.launch_s),
            memory_s=np.where(busy, work.memory_s, 0.0),
            compute_s=np.where(busy, work.compute_s, 0.0),
            communication_s=np.where(busy, communication_s, 0.0),
            host_s=host_s,
        )


def _split(phase: PhaseCost) -> tuple[Real, Real]:
    """A phase's seconds as (bound by memory, bound by compute): one of the two is 0."""
    if isinstance(phase.memory_s, float) and isinstance(phase.compute_s, float):
        by_memory = phase.memory_s >= phase.compute_s
        return (phase.memory_s, 0.0) if by_memory else (0.0, phase.compute_s)
    memory_bound = phase.memory_s >= phase.compute_s
    return np.where(memory_bound, phase.memory_s, 0.0), np.where(memory_bound, 0.0, phase.compute_s)


def _slowest(ranks: list[_Rank]) -> _Rank:
    """The slowest replica of each step."""
    slowest = ranks[0]
    for rank in ranks[1:]:
        behind = slowest.seconds >= rank.seconds
        slowest = _Rank(
            np.where(behind, slowest.memory_s, rank.memory_s),
            np.where(behind, slowest.compute_s, rank.compute_s),
        )
    return slowest
