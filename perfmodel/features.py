"""Closed-loop runs as tables of step compositions, so that constants can be fitted to them quickly.

With a fixed number of requests in flight each request follows the end of another, so which steps
are taken does not depend on how long they last: one simulation serves all constants.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.arrays import FloatArray, Real
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import Constants
from perfmodel.launches import growth_s
from perfmodel.load import StepLoad
from perfmodel.serving import Setup, server
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


@dataclass(frozen=True, slots=True)
class Features:
    """Stretches of steps of many runs; one row a stretch, shape (rows,) or (rows, phases).

    Times are those of the datasheet at full efficiency, at the middle of the stretch.
    """

    run: npt.NDArray[np.intp]
    steps: FloatArray
    memory_s: FloatArray
    compute_s: FloatArray
    launches: FloatArray
    wire_s: FloatArray
    """Communication without latency."""
    hops: FloatArray
    """Latencies one after another, linear about the link's own."""
    sequences: FloatArray
    growth_s: FloatArray

    def step_s(self, constants: Constants) -> FloatArray:
        """Price every stretch's middle step, shape (rows,); hop_s None counts as 0."""
        phases_s = np.maximum(
            self.memory_s / constants.memory_efficiency,
            self.compute_s / constants.compute_efficiency,
        )
        sent_s = self.wire_s / constants.network_efficiency + self.hops * (constants.hop_s or 0.0)
        gpu_s = phases_s.sum(axis=1) + sent_s
        host_s = constants.step_s + constants.sequence_s * self.sequences + self.growth_s
        return np.asarray(np.maximum(gpu_s, self.launches * constants.kernel_s) + host_s)

    def duration_s(self, constants: Constants, runs: int) -> FloatArray:
        """Seconds each run takes, shape (runs,)."""
        took_s = self.steps * self.step_s(constants)
        seconds = np.zeros(runs)
        np.add.at(seconds, self.run, took_s)
        return seconds


def features(runs: Sequence[MeasuredRun], setup: Setup, constants: Constants) -> Features:
    """Simulate each run once and tabulate its steps; `constants` gives the launch counts."""
    rows = [
        (number, *row)
        for number, run in enumerate(runs)
        for row in _run_rows(run, setup, constants)
    ]
    number, steps, memory_s, compute_s, *rest = zip(*rows, strict=True)
    launches, wire_s, hops, sequences, growing_s = (np.array(column) for column in rest)
    return Features(
        run=np.array(number, dtype=np.intp),
        steps=np.array(steps),
        memory_s=np.array(memory_s),
        compute_s=np.array(compute_s),
        launches=launches,
        wire_s=wire_s,
        hops=hops,
        sequences=sequences,
        growth_s=growing_s,
    )


Priced = tuple[FloatArray, FloatArray, float, float, float, float, float]
"""memory_s, compute_s, launches, wire_s, hops, sequences, growth_s."""
Row = tuple[float, FloatArray, FloatArray, float, float, float, float, float]


def _run_rows(run: MeasuredRun, setup: Setup, constants: Constants) -> list[Row]:
    """Rows of the number of steps and their middle one, priced."""
    ideal = msgspec.structs.replace(
        constants,
        kernel_s=1.0,
        memory_efficiency=1.0,
        compute_efficiency=1.0,
        network_efficiency=1.0,
        hop_s=0.0,
    )
    longest = run.input_len + run.output_len
    exact = msgspec.structs.replace(setup, constants=ideal)
    built = server(run.model, run.layout, run.gpu, longest=longest, setup=exact)
    with_hops = StepModel(
        run.model, run.layout, run.gpu, constants=msgspec.structs.replace(ideal, hop_s=None)
    )
    loop = ClosedLoop(run.num_prompts, run.max_concurrency)
    lengths = [(run.input_len, run.output_len)] * run.num_prompts
    steps = trace(loop, lengths, built.step_model, built.limits)
    # Replicas that do not wait for each other take their steps side by side.
    servers = 1 if built.step_model.lockstep else run.layout.dp
    return [
        (count / servers, *_priced(built.step_model, with_hops, loads, middle=(count - 1) / 2))
        for loads, count in steps
    ]


def _priced(
    ideal: StepModel, with_hops: StepModel, loads: tuple[StepLoad, ...], *, middle: float
) -> Priced:
    fullest = max(loads, key=lambda load: load.sequences)
    ways = ideal.micro_batches(fullest)
    tokens = [ideal.micro_tokens(load) for load in loads]
    costs = {
        cost.name: cost
        for cost in ideal.phases.local(fullest.tokens, sampled=fullest.sampled, ways=ways)
    }
    costs["attention"] = ideal.phases.attention(fullest, np.array([middle]), ways=ways)
    if (experts := ideal.phases.experts(sum(tokens))) is not None:
        costs["experts"] = experts
    names = ("attention", "projections", "dense", "head", "experts")
    wire_s = ideal.fabric.exchange(max(tokens)).total_s
    latency_s = ideal.gpu.intra_node.latency_s
    delay_s = with_hops.fabric.exchange(max(tokens)).total_s - wire_s
    most = max(load.sequences for load in loads)
    return (
        np.array([_number(costs[name].memory_s) if name in costs else 0.0 for name in names]),
        np.array([_number(costs[name].compute_s) if name in costs else 0.0 for name in names]),
        ideal.launch_s,
        wire_s,
        delay_s / latency_s,
        float(most),
        growth_s(ideal.model, ideal.layout, ideal.constants, sequences=most),
    )


def _number(value: Real) -> float:
    return float(np.ravel(np.asarray(value))[0])
