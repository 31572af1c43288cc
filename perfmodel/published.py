"""Published serving measurements of MoE models on vLLM, and what the model says of each.

`data/published_vllm.csv`: one measured point a row, with the address it was read from. Lengths are
means; loads closed. Where a source gives TTFT and TPOT alone, its throughput is derived from them,
and so is the estimate's: 1000 C n / (TTFT + TPOT (n − 1)).
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import msgspec
import numpy as np

from catalog.from_hf import load_model
from catalog.models import Model
from perfmodel.arrays import FloatArray
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import DEFAULT, Constants
from perfmodel.engine_defaults import known_version
from perfmodel.features import MeasuredRun, features
from perfmodel.kernel_tables.kernels import Kernels
from perfmodel.kernel_tables.source import KernelTables
from perfmodel.memory import VLLM
from perfmodel.serving import ServerModel, ServerSettings, server
from perfmodel.simulate import Simulated, simulate
from strategies import parse_layout
from strategies.own_gpus import find_gpu
from strategies.technique import parse_technique

WAVES = 3
"""Requests a slot that are simulated, at most: more change no figure by much."""
FIGURES = ("output_throughput", "mean_tpot_ms", "mean_ttft_ms")


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One published measurement; None where its source does not say."""

    source: str
    source_url: str
    engine_version: str
    model: str
    gpu: str
    layout: str
    technique: str
    input_len: int
    output_len: int
    concurrency: int
    num_prompts: int
    max_num_batched_tokens: int | None
    max_num_seqs: int | None
    output_tps: float
    tps_from: str
    ttft_ms: float | None
    tpot_ms: float | None
    stat: str
    length_spread: float = 0.0
    """Lengths of prompts and answers are drawn evenly within this share of their means."""

    @property
    def longest(self) -> int:
        return sum(round((1 + self.length_spread) * n) for n in (self.input_len, self.output_len))


def published_points() -> tuple[Point, ...]:
    return read_points(files("perfmodel").joinpath("data", "published_vllm.csv").read_text())


def read_points(text: str) -> tuple[Point, ...]:
    """Read points from the text of a CSV file."""
    rows = csv.DictReader(text.splitlines())
    return tuple(
        msgspec.convert(
            {name: value or None if name in _OPTIONAL else value for name, value in row.items()},
            Point,
            strict=False,
        )
        for row in rows
    )


_OPTIONAL = ("max_num_batched_tokens", "max_num_seqs", "ttft_ms", "tpot_ms")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the model says of a point: tokens/s and milliseconds."""

    output_throughput: float
    mean_tpot_ms: float
    mean_ttft_ms: float


def settings_of(
    point: Point, constants: Constants, tables: KernelTables | None = None
) -> ServerSettings:
    """How a point's server was started."""
    kv_dtype = parse_technique(point.technique).kv_dtype
    return ServerSettings(
        conventions=msgspec.structs.replace(VLLM, kv_dtype=kv_dtype),
        max_num_batched_tokens=point.max_num_batched_tokens,
        max_num_seqs=point.max_num_seqs,
        engine_version=known_version(point.engine_version),
        constants=constants,
        kernel_tables=tables,
    )


def requests_of(point: Point) -> int:
    """As many as its source sent, up to some waves."""
    return min(point.num_prompts, WAVES * point.concurrency)


def lengths_of(point: Point) -> tuple[tuple[int, int], ...]:
    """Return the prompt and the answer of each request, as its source drew them."""
    count = requests_of(point)
    if not point.length_spread:
        return ((point.input_len, point.output_len),) * count
    rng = np.random.default_rng(count)
    shares = rng.uniform(1 - point.length_spread, 1 + point.length_spread, (count, 2))
    drawn = np.rint(shares * (point.input_len, point.output_len)).astype(int)
    return tuple((int(prompt), int(answer)) for prompt, answer in drawn)


def estimate(point: Point, constants: Constants, tables: KernelTables | None = None) -> Estimate:
    """Simulate a point's load."""
    lengths, built = lengths_of(point), server_of(point, settings_of(point, constants, tables))
    loop = ClosedLoop(len(lengths), point.concurrency)
    return _figures(point, simulate(loop, lengths, built.step_model, limits=built.limits), lengths)


def server_of(point: Point, settings: ServerSettings) -> ServerModel:
    """A point's server, for its longest sequence."""
    return server(
        model_of(point), parse_layout(point.layout), find_gpu(point.gpu),
        longest=point.longest, setup=settings,
    )  # fmt: skip


def point_kernels(point: Point, tables: KernelTables) -> Kernels:
    """What of a point's steps the tables have measured."""
    kernels = server_of(point, settings_of(point, DEFAULT, tables)).step_model.kernels
    assert kernels is not None  # tables were given
    return kernels


def model_of(point: Point) -> Model:
    """The model as the point's technique stores it."""
    model = load_model(point.model)
    return parse_technique(point.technique).stored(model) if point.technique else model


def _figures(point: Point, result: Simulated, lengths: Sequence[tuple[int, int]]) -> Estimate:
    first_s = np.array([times[0] for times in result.token_times_s])
    answers = np.array([answer for _, answer in lengths])
    ttft_s = middle(point, first_s - result.sent_s)
    tpot_s = middle(point, (result.done_s - first_s) / np.maximum(answers - 1, 1))
    duration_s = float(result.done_s.max()) * point.output_len / float(answers.mean())
    throughput = _throughput(point, duration_s, ttft_s, tpot_s)
    return Estimate(throughput, 1e3 * tpot_s, 1e3 * ttft_s)


def middle(point: Point, values: FloatArray) -> float:
    """The median or the mean, the first wave counted as often as it was among all requests.

    It is sent at once, and only some of the waves after it are simulated.
    """
    if point.stat.startswith("median"):
        return float(np.median(values))
    first = point.concurrency
    if len(values) <= first:
        return float(values.mean())
    share = first / point.num_prompts
    return float(share * values[:first].mean() + (1 - share) * values[first:].mean())


def _throughput(point: Point, duration_s: float, ttft_s: float, tpot_s: float) -> float:
    """As its source has it: reported, or derived from the latencies."""
    if point.tps_from == "reported":
        return requests_of(point) * point.output_len / duration_s
    wave_s = ttft_s + tpot_s * max(point.output_len - 1, 1)
    return point.concurrency * point.output_len / wave_s


class PointTable:
    """One point's steps tabulated once, so that other constants price them at once.

    Means stand for medians, corrected by what the constants it starts from give in both ways; a
    first token's constant delays no later request: near enough to fit by, not to tell errors by.
    """

    def __init__(self, point: Point, start: Constants, tables: KernelTables | None = None) -> None:
        count = requests_of(point)
        run = MeasuredRun(
            model=model_of(point),
            layout=parse_layout(point.layout),
            gpu=find_gpu(point.gpu),
            input_len=point.input_len,
            output_len=point.output_len,
            num_prompts=count,
            max_concurrency=point.concurrency,
            output_throughput=point.output_tps,
            lengths=lengths_of(point),
        )
        self._point = point
        self._table = features([run], settings_of(point, start, tables), start)
        self._factors = np.ones(len(FIGURES))
        self._factors = _values(estimate(point, start, tables)) / _values(self.estimate(start))

    def estimate(self, constants: Constants) -> Estimate:
        """What the constants say of the point."""
        table = self._table
        duration_s, ttft_s, e2el_s = (
            float(each(constants, 1)[0]) for each in (table.duration_s, table.ttft_s, table.e2el_s)
        )
        computed_s = ttft_s - constants.first_token_s
        tpot_s = (e2el_s - computed_s) / max(self._point.output_len - 1, 1)
        throughput = _throughput(self._point, duration_s, ttft_s, tpot_s)
        found = np.array([throughput, 1e3 * tpot_s, 1e3 * ttft_s]) * self._factors
        return Estimate(*map(float, found))


def _values(said: Estimate) -> FloatArray:
    return np.array([getattr(said, name) for name in FIGURES])


def log_errors(
    points: Sequence[Point], constants: Constants, tables: KernelTables | None = None
) -> FloatArray:
    """ln(estimated / measured), shape (points, 3) in the order of FIGURES; nan where unmeasured."""
    return np.array([log_error(point, estimate(point, constants, tables)) for point in points])


def log_error(point: Point, said: Estimate) -> list[float]:
    measured = (point.output_tps, point.tpot_ms, point.ttft_ms)
    return [
        math.log(getattr(said, name) / value) if value else math.nan
        for name, value in zip(FIGURES, measured, strict=True)
    ]
