"""Time of one engine step, and what bounds it.

    t = max(launches t_k, Σ_phases max(bytes / BW, FLOP / peak) + exposed communication)
        + t_step + σ sequences + growth

or, where kernels run one after another (`Constants.serial`), as in CUDA graphs,

    t = launches t_k + Σ_phases (bytes / BW + FLOP / peak) + exposed communication + t_step
        + σ sequences + growth

whose second line, the host's, hides under the first where the engine schedules the next step
meanwhile (`ahead`): t is then the longer of the two.

Within a phase reading and computing overlap; phases follow one another. Replicas that share experts
go in lockstep: every layer waits for the slowest of them, and one without work runs a dummy token.
Pipeline stages are kept full by micro-batches, so a step of all of them costs the whole model's
layers at 1/pp of the load.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.arrays import FloatArray, Real
from perfmodel.collectives import exposed
from perfmodel.constants import DEFAULT, Constants, beside_kernels
from perfmodel.context import ContextExchange
from perfmodel.exchange import Fabric
from perfmodel.experts import UNIFORM, RoutingSkew
from perfmodel.kernel_tables.kernels import Kernels, Wanted
from perfmodel.kernel_tables.source import KernelTables
from perfmodel.launches import growth_s, host_shown, launches_per_step
from perfmodel.load import StepLoad
from perfmodel.phases import PhaseCost, Phases
from strategies.layout import Layout

MOST_REMEMBERED = 8192
MOST_TIMES = 64
"""Waves of equal requests take the same few runs of steps again and again; each may be long."""

Bound = Literal["launch", "memory", "compute", "communication", "host"]


@dataclass(frozen=True)
class StepTimes:
    """Times of consecutive steps, shape (steps,), and what the GPU's part of them is made of."""

    total_s: FloatArray
    memory_s: FloatArray
    """Phases bound by memory."""
    compute_s: FloatArray
    communication_s: Real
    launch_s: float
    """The launches' floor: a step whose GPU time is below it takes this instead."""
    host_s: Real
    """What of the host's time shows."""
    serial: bool = False
    """Launches come on top of the GPU's time instead."""

    def __post_init__(self) -> None:
        for part in (self.total_s, self.memory_s, self.compute_s):
            part.flags.writeable = False  # they are remembered: what one changed, all would see

    def seconds_by_bound(
        self, steps: int, *, factors: FloatArray | None = None
    ) -> dict[Bound, float]:
        """Add up the first steps, each times its factor.

        A launch-bound step is all launch but for the host's part.
        """
        if factors is None and steps == len(self.total_s):
            return dict(self._whole_by_bound)
        return self._sums(steps, factors)

    @functools.cached_property
    def _whole_by_bound(self) -> dict[Bound, float]:
        return self._sums(len(self.total_s), None)

    def _sums(self, steps: int, factors: FloatArray | None) -> dict[Bound, float]:
        weights = np.ones(steps) if factors is None else factors[:steps]
        gpu_s = self.memory_s + self.compute_s + self.communication_s
        hidden = gpu_s[:steps] < self.launch_s
        busy = weights if self.serial else weights * ~hidden
        launched = weights if self.serial else weights * hidden
        sent_s, host_s = (
            np.broadcast_to(each, self.total_s.shape)[:steps]
            for each in (self.communication_s, self.host_s)
        )
        return {
            "launch": self.launch_s * float(launched.sum()),
            "memory": float(self.memory_s[:steps] @ busy),
            "compute": float(self.compute_s[:steps] @ busy),
            "communication": float(sent_s @ busy),
            "host": float(host_s @ weights),
        }


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
        routing: RoutingSkew = UNIFORM,
        kv_dtype: str | None = None,
    ) -> None:
        self.model, self.layout, self.gpu = model, layout, gpu
        self.constants = constants or DEFAULT
        self.ahead = False
        """Whether the host schedules the next step while the GPU computes this one."""
        self.kernels: Kernels | None = None
        self._routing, self._kv_dtype = routing, kv_dtype
        self.phases = Phases(
            model, layout, gpu, constants=self.constants, routing=routing, kv_dtype=kv_dtype
        )
        self.fabric = Fabric(model, layout, gpu, self.constants)
        self.context = ContextExchange(model, layout, gpu, self.constants)
        self._times = functools.lru_cache(MOST_TIMES)(self._price_steps)
        # A run of steps meets few different token counts, each of them often.
        self._experts_s = functools.lru_cache(MOST_REMEMBERED)(self._price_experts)
        self._local_s = functools.lru_cache(MOST_REMEMBERED)(self._price_local)
        self._exchange = functools.lru_cache(MOST_REMEMBERED)(self.fabric.exchange)
        self.brought_s = 0.0
        """Weights brought in from host memory and disk, each step; set before the first is priced.
        """
        self.launch_s = launches_per_step(model, layout, self.constants) * self.constants.kernel_s

    def use(self, tables: KernelTables) -> None:
        """Price what these tables measured by them, before the first step is asked for.

        Experts were measured under a routing of the tables' own: where a skew is asked for, they
        are left to the formula.
        """
        skewed = self.constants.popularity_cv > 0 if self._routing == UNIFORM else None
        wanted = Wanted(self.model, self.layout, self.gpu, self._kv_dtype, skewed)
        self.kernels = tables.kernels(wanted)
        self.phases.use(self.kernels)
        self.fabric.use(self.kernels)

    @property
    def pricing(self) -> str:
        """The name of what prices its steps: a calibration, beside measured kernels or alone."""
        if self.kernels is None or not self.kernels.any:
            return self.constants.name
        return beside_kernels(self.constants, own=self.kernels.own)

    @property
    def lockstep(self) -> bool:
        """True when replicas share experts, and so wait for each other in every layer."""
        return self.layout.dp > 1 and self.model.experts is not None

    def micro_batches(self, load: StepLoad) -> int:
        """Parts a step is cut into to fill the pipeline; a sequence is never cut."""
        return min(self.layout.pp, max(1, load.sequences))

    def times(self, loads: Sequence[StepLoad], steps: int = 1) -> StepTimes:
        """Price `steps` steps that begin with `loads`, one load a replica in lockstep.

        More than one step only of decode loads, each context one longer every time. Times asked
        for again are the same object.
        """
        return self._times(tuple(loads), steps)

    def _price_steps(self, loads: tuple[StepLoad, ...], steps: int) -> StepTimes:
        ahead = np.arange(steps, dtype=np.float64)
        slowest = _slowest([self._rank(load, ahead) for load in dict.fromkeys(loads)])
        tokens = [self.micro_tokens(load) for load in loads]
        memory_s, compute_s = self._experts_s(sum(tokens))
        exchange = self._exchange(max(tokens))
        shown_s: Real = exchange.total_s
        if overlap := self.constants.overlap:
            shown_s = exposed(exchange.tensor_s, slowest.seconds, overlap=overlap)
            shown_s = shown_s + exposed(exchange.expert_s, memory_s + compute_s, overlap=overlap)
            shown_s = shown_s + exchange.pipeline_s
        shown_s = shown_s + max(self.context_s(load) for load in loads) + self.brought_s
        return self._compose(
            _Rank(slowest.memory_s + memory_s, slowest.compute_s + compute_s),
            shown_s,
            max(load.sequences for load in loads),
        )

    def micro_tokens(self, load: StepLoad) -> float:
        """Tokens of one micro-batch, at least the dummy's one."""
        return max(load.tokens / self.micro_batches(load), 1.0)

    def context_s(self, load: StepLoad) -> float:
        """What splitting the cache by position costs in messages; none of it is hidden."""
        return self.context.seconds(load, ways=self.micro_batches(load))

    def _rank(self, load: StepLoad, ahead: FloatArray) -> _Rank:
        ways = self.micro_batches(load)
        attention = self.phases.attention(load, ahead, ways=ways)
        memory_s, compute_s = self._local_s(load.tokens, load.sampled, ways)
        read_s, scored_s = attention.by_bound
        return _Rank(np.asarray(memory_s + read_s), np.asarray(compute_s + scored_s))

    def _price_local(self, tokens: int, sampled: int, ways: int) -> tuple[float, float]:
        """Seconds bound by memory and by compute of what a replica computes of its own tokens."""
        return _split(self.phases.local(tokens, sampled=sampled, ways=ways))

    def _price_experts(self, tokens: float) -> tuple[float, float]:
        experts = self.phases.experts(tokens)
        return _split((experts,) if experts else ())

    def _compose(self, work: _Rank, communication_s: Real, sequences: int) -> StepTimes:
        gpu_s = work.seconds + communication_s
        serial = self.constants.serial
        busy_s = gpu_s + self.launch_s if serial else np.maximum(gpu_s, self.launch_s)
        host_s = self.constants.sequence_s * sequences
        host_s += growth_s(self.model, self.layout, self.constants, sequences=sequences)
        shown_s = host_shown(self.constants, busy_s, host_s, ahead=self.ahead)
        return StepTimes(
            total_s=busy_s + shown_s,
            memory_s=work.memory_s,
            compute_s=work.compute_s,
            communication_s=communication_s,
            launch_s=self.launch_s,
            host_s=shown_s,
            serial=serial,
        )


def _split(phases: Sequence[PhaseCost]) -> tuple[float, float]:
    """Sum the phases' seconds by what bounds each: (memory, compute)."""
    both = [phase.by_bound for phase in phases]
    return sum(float(read) for read, _ in both), sum(float(computed) for _, computed in both)


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
