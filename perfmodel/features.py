"""Closed-loop runs as tables of step compositions, so that constants can be fitted to them quickly.

With a fixed number of requests in flight each request follows the end of another, so which steps
are taken does not depend on how long they last: one simulation serves all constants.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.arrays import BoolArray, FloatArray, Real
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import Constants
from perfmodel.launches import growth_s, host_shown
from perfmodel.load import StepLoad
from perfmodel.phases import PhaseCost, phase_seconds
from perfmodel.serving import ServerSettings, server
from perfmodel.simulate import trace
from perfmodel.step import StepModel
from strategies.layout import Layout


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One closed-loop run of equal requests and what it measured."""

    model: Model
    layout: Layout
    gpu: Gpu
    input_len: int
    output_len: int
    num_prompts: int
    max_concurrency: int
    output_throughput: float
    mean_ttft_ms: float | None = None
    max_num_batched_tokens: int | None = None
    """What its server told of itself; None, as in the next three, leaves what is assumed of all."""
    max_num_seqs: int | None = None
    engine_version: str | None = None
    kv_dtype: str | None = None
    lengths: tuple[tuple[int, int], ...] | None = None
    """Prompt and answer of each request, where they are not all alike."""

    @property
    def sent_lengths(self) -> tuple[tuple[int, int], ...]:
        return self.lengths or ((self.input_len, self.output_len),) * self.num_prompts

    def server_settings(self, assumed: ServerSettings) -> ServerSettings:
        """Return what is assumed of all servers, with what this one told."""
        names = ("max_num_batched_tokens", "max_num_seqs", "engine_version")
        told = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.kv_dtype is not None:
            told["conventions"] = msgspec.structs.replace(
                assumed.conventions, kv_dtype=self.kv_dtype
            )
        return msgspec.structs.replace(assumed, **told)


@dataclass(frozen=True, slots=True)
class Features:
    """Stretches of steps of many runs; one row a stretch, shape (rows,) or (rows, phases).

    Times are those of the datasheet at full efficiency, at the middle of the stretch.
    """

    run: npt.NDArray[np.intp]
    steps: FloatArray
    waiting: FloatArray
    """Steps, each times the requests that have no token yet, over all requests of the run."""
    unfinished: FloatArray
    """The same of all requests that are there."""
    memory_s: FloatArray
    compute_s: FloatArray
    launches: FloatArray
    wire_s: FloatArray
    """Communication without latency, at the share of the links that `constants` say is reached."""
    hops: FloatArray
    """Latencies one after another, linear about the link's own."""
    sequences: FloatArray
    growth_s: FloatArray
    fixed_s: FloatArray
    """What no fitted constant scales: touched experts beside their bytes, starts of exchanges, and
    parts that measured kernels price."""
    ahead: BoolArray
    """Where the host's time hides under the GPU's."""
    idle_intakes: FloatArray
    """Time without a request in the engine, shape (runs,): linear in what the front end takes of
    one, since its requests come in the same bursts whatever a step takes."""
    mean_intakes: FloatArray
    """The same of a request's way to the engine."""

    def step_s(self, constants: Constants) -> FloatArray:
        """Price every stretch's middle step, shape (rows,); hop_s None counts as 0."""
        passes = np.array([constants.token_passes if p == "tokens" else 1.0 for p in PHASES])
        read_s = self.memory_s * passes / constants.memory_efficiency
        reached = np.array([constants.efficiency_of(phase) for phase in PHASES])
        serial = constants.serial
        phases_s = np.asarray(phase_seconds(read_s, self.compute_s / reached, serial=serial))
        sent_s = self.wire_s + self.hops * (constants.hop_s or 0.0)
        gpu_s = phases_s.sum(axis=1) + sent_s + self.fixed_s
        launch_s = self.launches * constants.kernel_s
        busy_s = gpu_s + launch_s if serial else np.maximum(gpu_s, launch_s)
        host_s = constants.sequence_s * self.sequences + self.growth_s
        return np.asarray(busy_s + host_shown(constants, busy_s, host_s, ahead=self.ahead))

    def duration_s(self, constants: Constants, runs: int) -> FloatArray:
        """Seconds each run takes, shape (runs,)."""
        idle_s = self.idle_intakes * constants.intake_s
        return np.asarray(self._by_run(self.steps * self.step_s(constants), runs) + idle_s)

    def ttft_s(self, constants: Constants, runs: int) -> FloatArray:
        """Mean time to first token of each run, shape (runs,)."""
        waited_s = self._by_run(self.waiting * self.step_s(constants), runs)
        taken_s = self.mean_intakes * constants.intake_s
        return np.asarray(waited_s + taken_s + constants.first_token_s)

    def e2el_s(self, constants: Constants, runs: int) -> FloatArray:
        """Mean time from sending to the last token of each run, shape (runs,)."""
        taken_s = self.mean_intakes * constants.intake_s
        return np.asarray(self._by_run(self.unfinished * self.step_s(constants), runs) + taken_s)

    def _by_run(self, seconds: FloatArray, runs: int) -> FloatArray:
        total = np.zeros(runs)
        np.add.at(total, self.run, seconds)
        return total


INTAKE_S = 1e-3
"""What runs are traced with: little beside their steps, which take whole seconds there."""
PHASES = ("attention", "projections", "dense", "tokens", "head", "experts")


def features(runs: Sequence[MeasuredRun], setup: ServerSettings, constants: Constants) -> Features:
    """Simulate each run once and tabulate its steps; `constants` gives the launch counts."""
    found = [_run_rows(run, setup, constants) for run in runs]
    rows = [(number, *row) for number, (own, _, _) in enumerate(found) for row in own]
    number, steps, waiting, unfinished, memory_s, compute_s, *rest = zip(*rows, strict=True)
    launches, wire_s, hops, sequences, growing_s, fixed_s, ahead = map(np.array, rest)
    return Features(
        run=np.array(number, dtype=np.intp),
        steps=np.array(steps),
        waiting=np.array(waiting),
        unfinished=np.array(unfinished),
        memory_s=np.array(memory_s),
        compute_s=np.array(compute_s),
        launches=launches,
        wire_s=wire_s,
        hops=hops,
        sequences=sequences,
        growth_s=growing_s,
        fixed_s=fixed_s,
        ahead=ahead,
        idle_intakes=np.array([idle for _, idle, _ in found]),
        mean_intakes=np.array([mean for _, _, mean in found]),
    )


Priced = tuple[FloatArray, FloatArray, float, float, float, float, float, float, bool]
"""memory_s, compute_s, launches, wire_s, hops, sequences, growth_s, fixed_s, ahead."""
FeatureRow = tuple[
    float, float, float, FloatArray, FloatArray, float, float, float, float, float, float, bool
]
RunRows = tuple[list[FeatureRow], float, float]
"""A run's rows; then its idle time and its mean intake, over what one request takes."""


def _run_rows(run: MeasuredRun, setup: ServerSettings, constants: Constants) -> RunRows:
    """Rows of the number of steps, of those waited for, and their middle one, priced."""
    ideal = msgspec.structs.replace(
        constants,
        kernel_s=1.0,
        memory_efficiency=1.0,
        compute_efficiency=1.0,
        expert_efficiency=None,
        attention_efficiency=None,
        token_passes=1.0,
        hop_s=0.0,
        intake_s=INTAKE_S,
        slice_s=0.0,
        reduce_s=None if constants.reduce_s is None else 0.0,
        direct_s=None if constants.direct_s is None else 0.0,
    )
    longest = max(map(sum, run.sent_lengths))
    exact = msgspec.structs.replace(run.server_settings(setup), constants=ideal)
    built = server(run.model, run.layout, run.gpu, longest=longest, setup=exact)
    delays = msgspec.structs.replace(ideal, hop_s=None)
    fixed = msgspec.structs.replace(
        ideal,
        slice_s=constants.slice_s,
        reduce_s=constants.reduce_s,
        direct_s=constants.direct_s,
    )
    with_hops, with_fixed = (
        StepModel(run.model, run.layout, run.gpu, constants=each) for each in (delays, fixed)
    )
    if setup.kernel_tables is not None:
        with_hops.use(setup.kernel_tables)
        with_fixed.use(setup.kernel_tables)
    loop = ClosedLoop(run.num_prompts, run.max_concurrency)
    traced = trace(loop, run.sent_lengths, built.step_model, built.limits)
    # Replicas that do not wait for each other take their steps side by side.
    servers = 1 if built.step_model.lockstep else run.layout.dp
    models = (built.step_model, with_hops, with_fixed)
    rows = [
        (
            each.steps / servers,
            each.waiting * each.steps / run.num_prompts,
            each.unfinished * each.steps / run.num_prompts,
            *_priced(models, each.loads, middle=(each.steps - 1) / 2),
        )
        for each in traced.stretches
    ]
    return rows, traced.idle_s / INTAKE_S, traced.intake_s / INTAKE_S


def _priced(
    models: tuple[StepModel, StepModel, StepModel], loads: tuple[StepLoad, ...], *, middle: float
) -> Priced:
    """Price a step by three models: ideal, with the links' latency, and with what is fixed."""
    ideal, with_hops, with_fixed = models
    fullest = max(loads, key=lambda load: load.sequences)
    ways = ideal.micro_batches(fullest)
    tokens = [ideal.micro_tokens(load) for load in loads]
    costs = {
        cost.name: cost
        for cost in ideal.phases.local(fullest.tokens, sampled=fullest.sampled, ways=ways)
    }
    costs["attention"] = ideal.phases.attention(fullest, np.array([middle]), ways=ways)
    wire_s = _sent_s(ideal, loads)
    fixed_s = _sent_s(with_fixed, loads) - wire_s
    if (experts := ideal.phases.experts(sum(tokens))) is not None:
        costs["experts"] = experts
        whole = with_fixed.phases.experts(sum(tokens))
        if whole and not _measured(experts):
            fixed_s += _number(whole.memory_s) - _number(experts.memory_s)
    kernels = [costs.pop(name) for name in list(costs) if _measured(costs[name])]
    fixed_s += sum(_number(cost.kernel_s) for cost in kernels)
    latency_s = ideal.gpu.link(2).latency_s
    delay_s = _sent_s(with_hops, loads) - wire_s
    most = max(load.sequences for load in loads)
    return (
        np.array([_number(costs[name].memory_s) if name in costs else 0.0 for name in PHASES]),
        np.array([_number(costs[name].compute_s) if name in costs else 0.0 for name in PHASES]),
        ideal.launch_s - sum(cost.launches for cost in kernels),
        wire_s,
        delay_s / latency_s,
        float(most),
        growth_s(ideal.model, ideal.layout, ideal.constants, sequences=most),
        fixed_s,
        ideal.ahead,
    )


def _measured(cost: PhaseCost) -> bool:
    """Whether kernels' own times price it, which no constant scales."""
    return math.isfinite(_number(cost.kernel_s))


def _sent_s(step: StepModel, loads: tuple[StepLoad, ...]) -> float:
    most = max(step.micro_tokens(load) for load in loads)
    return step.fabric.exchange(most).total_s + max(map(step.context_s, loads))


def _number(value: Real) -> float:
    return float(np.ravel(np.asarray(value))[0])
