"""What the analytic model says an experiment would measure; measured runs to fit it to."""

import asyncio
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from catalog.errors import BadFile, InputError
from catalog.from_hf import load_model
from catalog.hardware_table import gpu
from orchestrator.cells import Run, Setup
from orchestrator.engines.base import Watch
from orchestrator.engines.simulated import SimulatedSession
from orchestrator.experiment import Experiment
from orchestrator.outcome import figures_of
from orchestrator.plan import Plan, make_plan
from perfmodel.breakdown import step_cost
from perfmodel.features import MeasuredRun
from perfmodel.load import decode_load, prefill_load
from perfmodel.serving import Server, server
from perfmodel.serving import Setup as Assumed
from strategies import parse_layout, parse_technique
from workloads.transcript import RequestRow

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, float | int | str | bool | None]

# Below this many runs starting further processes takes longer than they save.
WORTH_MORE_CORES = 300
MOST_CORES = 8

NEEDED = (
    "model", "strategy", "gpu_type", "input_len", "output_len", "num_prompts", "max_concurrency",
    "output_throughput",
)  # fmt: skip


def plan_of(experiment: Experiment) -> Plan:
    """Plan the same runs for the simulated engine, each once."""
    changed = msgspec.structs.replace(experiment, engine="simulated", endpoint=None, num_runs=1)
    return make_plan(changed, "simulated")


def estimates(plan: Plan, assumed: Assumed) -> Iterator[Row]:
    """Yield a row for each run, then one for each setup that cannot be."""
    jobs = ([plan] * len(plan.setups), plan.setups, [assumed] * len(plan.setups))
    if len(plan.runs) < WORTH_MORE_CORES or len(plan.setups) == 1:
        yield from chain.from_iterable(map(_rows_of_setup, *jobs))
    else:
        # A fresh interpreter each: a fork would copy whatever threads hold here.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(MOST_CORES, os.cpu_count() or 1), context) as pool:
            yield from chain.from_iterable(pool.map(_rows_of_setup, *jobs))
    for refused in plan.refused:
        yield {
            **_identity(refused.setup),
            "feasible": False,
            "why": "; ".join(refused.reasons),
        }


def _rows_of_setup(plan: Plan, setup: Setup, assumed: Assumed) -> list[Row]:
    on = _server(plan, setup, assumed)
    runs = [run for run in plan.as_asked if run.cell.setup == setup]
    return [_estimate(run, on, plan.experiment) for run in runs]


def breakdowns(plan: Plan, assumed: Assumed) -> Iterator[Row]:
    """Yield the parts of a prefill step and of a decode step of each run's workload and load."""
    for run in plan.as_asked:
        cell = run.cell
        on = _server(plan, cell.setup, assumed)
        step, workload = on.step_model, cell.workload
        in_flight = min(cell.load.max_concurrency or cell.num_prompts, cell.num_prompts)
        batch = max(1, -(-in_flight // step.layout.dp))
        window = step.model.attention.window
        loads = {
            "prefill": prefill_load(1, workload.input_len, window=window),
            "decode": decode_load(
                batch, workload.input_len + workload.output_len // 2, window=window
            ),
        }
        for phase, load in loads.items():
            cost = step_cost(step, [load] * (step.layout.dp if step.lockstep else 1))
            for part in cost.parts:
                yield {
                    **_identity(cell.setup),
                    "workload": workload.name,
                    "max_concurrency": cell.load.max_concurrency,
                    "step": phase,
                    "step_ms": cost.seconds * 1e3,
                    "step_bound": cost.bound,
                    "part": part.name,
                    "part_ms": part.seconds * 1e3,
                    "part_bound": part.bound,
                    "moved_bytes": part.moved_bytes,
                    "flops": part.flops,
                }


def measured_runs(frame: "pd.DataFrame") -> list[MeasuredRun]:
    """Turn a run table's valid closed-loop rows into runs to fit; refuse one that lacks columns."""
    missing = [name for name in NEEDED if name not in frame]
    if missing:
        raise BadFile(frame["source_file"].iloc[0], f"no column {', '.join(map(repr, missing))}")
    usable = frame.dropna(subset=["max_concurrency", "output_throughput"])
    if "request_rate" in usable:
        usable = usable[usable["request_rate"].isna()]
    if "verdict" in usable:
        usable = usable[usable["verdict"].isin(["valid", ""])]
    return [_measured(row) for row in usable.to_dict("records")]


def _measured(row: dict[Any, Any]) -> MeasuredRun:
    try:
        return MeasuredRun(
            model=load_model(str(row["model"])),
            layout=parse_layout(str(row["strategy"])),
            gpu=gpu(str(row["gpu_type"])),
            input_len=int(row["input_len"]),
            output_len=int(row["output_len"]),
            num_prompts=int(row["num_prompts"]),
            max_concurrency=int(row["max_concurrency"]),
            output_throughput=float(row["output_throughput"]),
        )
    except (InputError, ValueError) as error:
        raise BadFile(row["source_file"], f"row {row['source_row']}: {error}") from error


def _server(plan: Plan, setup: Setup, assumed: Assumed) -> Server:
    assert setup.layout is not None
    workloads = [run.cell.workload for run in plan.runs if run.cell.setup == setup]
    longest = max(workload.input_len + workload.output_len for workload in workloads)
    kv_dtype = parse_technique(setup.technique).kv_dtype
    if kv_dtype:
        conventions = msgspec.structs.replace(assumed.conventions, kv_dtype=kv_dtype)
        assumed = msgspec.structs.replace(assumed, conventions=conventions)
    stored = plan.stored(setup)
    return server(stored, setup.layout, gpu(setup.hardware), longest=longest, setup=assumed)


def _estimate(run: Run, on: Server, experiment: Experiment) -> Row:
    rows: list[RequestRow] = []
    session = SimulatedSession(on)
    measurement = asyncio.run(session.measure(run, Watch(on_row=rows.append)))
    cell, load = run.cell, run.cell.load
    summary = figures_of(rows, goodput=experiment.goodput, max_concurrency=load.max_concurrency)
    bounds = ("launch", "memory", "compute", "communication", "host")
    shares = {name: _share(measurement.figures.get(f"{name}_share")) for name in bounds}
    throughput = summary["output_throughput"]
    num_gpus = on.step_model.layout.num_gpus
    return {
        **_identity(cell.setup),
        "workload": cell.workload.name,
        "input_len": cell.workload.input_len,
        "output_len": cell.workload.output_len,
        "num_prompts": cell.num_prompts,
        "max_concurrency": load.max_concurrency,
        "request_rate": load.request_rate,
        "burstiness": load.burstiness,
        **summary,
        "output_throughput_per_gpu": throughput / num_gpus if throughput else None,
        **measurement.figures,
        "kv_tokens_capacity": on.kv_tokens_capacity,
        "feasible": True,
        "bound": max(shares, key=lambda name: shares[name]),
        "calibration": on.step_model.constants.name,
        "assumptions": "; ".join(on.memory.assumptions),
    }


def _share(value: float | int | str | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _identity(setup: Setup) -> Row:
    layout = setup.layout
    assert layout is not None
    return {
        "provenance": "simulated",
        "model": setup.model,
        "strategy": setup.strategy,
        "tp": layout.tp,
        "dp": layout.dp,
        "pp": layout.pp,
        "ep": layout.ep,
        "num_gpus": layout.num_gpus,
        "hardware": setup.hardware,
    }
