"""The training study: a recipe drawn into cases, every option of each run on the simulated engine.

Models, GPUs, their number, the workload and the load are drawn independently from a seed, so one
recipe is one table. Each run has the noise of a launch of its own.
"""

import multiprocessing
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from analysis.predict.architecture import synthetic_models
from analysis.predict.options import study_layouts
from analysis.predict.steady_state import Demand
from catalog.errors import BadFile, BadValue, Infeasible
from catalog.from_hf import load_model
from catalog.models import Model
from catalog.named_file import read_named
from catalog.python import safe_children
from orchestrator.experiment.cells import Cell, LoadPoint, Setup
from orchestrator.results.condition import cell_columns, with_configuration
from orchestrator.results.record import Row
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import calibration
from perfmodel.noise import Noise, launch_factor
from perfmodel.serving import ServerSettings, server
from perfmodel.simulate import Simulated, simulate
from strategies import Technique
from strategies.layout import Layout
from strategies.own_gpus import find_gpu
from workloads.figures.goodput import good, parse_goodput
from workloads.load.profiles import parse_workload

WORTH_MORE_CORES = 200
CHUNK = 16


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training study is drawn from."""

    seed: int
    cases: int
    """Decisions to draw; each gives a run for every layout that fits."""
    models: tuple[str, ...]
    """Catalog models beside the synthetic ones, each as often as one of those."""
    synthetic_models: int
    hardware: tuple[str, ...]
    gpus: tuple[int, ...]
    workloads: tuple[str, ...]
    concurrency: tuple[int, ...]
    waves: int = 2
    """Prompts of a run over its concurrency."""
    fewest_prompts: int = 8
    goodput: tuple[str, ...] = ("ttft:1000", "tpot:50")
    calibration: str | None = None
    """None takes the default."""
    launch_sigma: float = 0.01
    step_sigma: float = 0.02

    def __post_init__(self) -> None:
        for name in ("hardware", "gpus", "workloads", "concurrency"):
            if not getattr(self, name):
                raise BadValue(name, "none", "at least one")
        if self.cases < 1 or len(self.models) + self.synthetic_models < 1:
            raise BadValue("cases and models", self.cases, "at least one of each")


@dataclass(frozen=True, slots=True)
class SimulatedCase:
    """One decision to simulate all options of."""

    number: int
    model: Model
    hardware: str
    gpus: int
    workload: str
    concurrency: int


def read_recipe(path: Path) -> Recipe:
    """Read a YAML recipe."""
    try:
        return msgspec.yaml.decode(read_named(path, "recipe"), type=Recipe)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise BadFile(path, f"not a recipe of a training study: {error}") from None


def cases_of(recipe: Recipe) -> Iterator[SimulatedCase]:
    """Draw the cases; the same recipe always gives the same ones."""
    rng = np.random.default_rng(recipe.seed)
    models = (
        *map(load_model, recipe.models),
        *synthetic_models(recipe.synthetic_models, rng),
    )
    for number in range(recipe.cases):
        yield SimulatedCase(
            number=number,
            model=models[int(rng.integers(len(models)))],
            hardware=recipe.hardware[int(rng.integers(len(recipe.hardware)))],
            gpus=recipe.gpus[int(rng.integers(len(recipe.gpus)))],
            workload=recipe.workloads[int(rng.integers(len(recipe.workloads)))],
            concurrency=recipe.concurrency[int(rng.integers(len(recipe.concurrency)))],
        )


def run_study(recipe: Recipe, *, workers: int | None = None) -> Iterator[Row]:
    """Yield a run-table row for each option that fits its hardware."""
    cases = list(cases_of(recipe))
    workers = workers or min(8, os.cpu_count() or 1)
    jobs = [(recipe, case) for case in cases]
    if workers == 1 or len(cases) < WORTH_MORE_CORES:
        for job in jobs:
            yield from rows_of(*job)
        return
    # A fresh interpreter each: a fork would copy whatever threads hold here.
    context = multiprocessing.get_context("spawn")
    with safe_children(), ProcessPoolExecutor(workers, context) as pool:
        for rows in pool.map(rows_of, *zip(*jobs, strict=True), chunksize=CHUNK):
            yield from rows


def rows_of(recipe: Recipe, case: SimulatedCase) -> list[Row]:
    """Simulate every option of one case; an option that does not fit gives no row."""
    rows = []
    for layout in study_layouts(case.gpus):
        try:
            rows.append(_row(recipe, case, layout))
        except Infeasible:
            continue
    return rows


def _row(recipe: Recipe, case: SimulatedCase, layout: Layout) -> Row:
    shape = parse_workload(case.workload)
    prompts = shape.num_prompts or max(recipe.fewest_prompts, recipe.waves * case.concurrency)
    demand = Demand(shape.input_len, shape.output_len, prompts, case.concurrency)
    constants = calibration(recipe.calibration) if recipe.calibration else None
    built = server(
        case.model,
        layout,
        find_gpu(case.hardware),
        longest=demand.input_len + demand.output_len,
        setup=ServerSettings(constants=constants),
    )
    key = zlib.crc32(f"{case.number} {layout.name}".encode())
    rng = np.random.default_rng([recipe.seed, key])
    launch = launch_factor(rng, recipe.launch_sigma)
    noise = Noise(rng, launch=launch, step_sigma=recipe.step_sigma)
    result = simulate(
        ClosedLoop(demand.num_prompts, demand.max_concurrency),
        [(demand.input_len, demand.output_len)] * demand.num_prompts,
        built.step_model,
        limits=built.limits,
        noise=noise,
    )
    row = {
        **_identity(case, layout, demand),
        "engine_version": built.step_model.constants.name,
        "calibration": built.step_model.constants.name,
        **_metrics(result, layout, recipe.goodput),
    }
    return with_configuration([row])[0]


def _identity(case: SimulatedCase, layout: Layout, demand: Demand) -> Row:
    setup = Setup(
        engine="simulated",
        model=case.model.name,
        layout=layout,
        technique=Technique(),
        hardware=find_gpu(case.hardware).name,
        server_args=(),
        server_env=(),
        endpoint=None,
    )
    load = LoadPoint(max_concurrency=demand.max_concurrency, request_rate=None, burstiness=None)
    shape = parse_workload(case.workload)
    cell = Cell(
        setup=setup, workload=shape, load=load, num_prompts=demand.num_prompts, seed=case.number
    )
    return {
        "run_id": f"study-{case.number}-{layout.name}",
        "cell_id": f"{case.number}-{layout.name}",
        "case_id": f"case-{case.number}",
        "verdict": "valid",
        "provenance": "simulated",
        **cell_columns(cell),
        "architecture": msgspec.json.encode(case.model).decode(),
    }


def _metrics(result: Simulated, layout: Layout, slos: tuple[str, ...]) -> Row:
    duration = float(result.done_s.max() - result.sent_s.min())
    tokens = sum(map(len, result.token_times_s))
    first = np.array([times[0] for times in result.token_times_s])
    counts = np.array([len(times) for times in result.token_times_s])
    latencies_ms = {
        "ttft": (first - result.due_s) * 1e3,
        "tpot": (result.done_s - first) / np.maximum(counts - 1, 1) * 1e3,
        "e2el": (result.done_s - result.due_s) * 1e3,
    }
    met = good(latencies_ms, parse_goodput(slos)) if slos else None
    return {
        "duration": duration,
        "completed": len(counts),
        "output_throughput": tokens / duration,
        "output_throughput_per_gpu": tokens / duration / layout.num_gpus,
        "request_goodput": None if met is None else met / duration,
        **{f"mean_{name}_ms": float(each.mean()) for name, each in latencies_ms.items()},
    }
