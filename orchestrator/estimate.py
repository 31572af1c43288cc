"""What the analytic model says an experiment would measure; measured runs to fit it to."""

import asyncio
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from catalog.errors import BadFile, InputError
from catalog.from_hf import load_model
from catalog.python import safe_children
from orchestrator.engine import Callbacks
from orchestrator.engines.registry import SIMULATION, resolve
from orchestrator.engines.simulated.engine import SimulatedSession
from orchestrator.engines.simulated.options import assumed_of, caching, held_model
from orchestrator.experiment.cells import Run, Setup
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import Plan, make_plan
from orchestrator.results.condition import cell_columns, setup_columns, with_configuration
from orchestrator.results.record import Row
from perfmodel.breakdown import step_cost
from perfmodel.features import MeasuredRun
from perfmodel.kernel_tables.kernels import FORMULA
from perfmodel.known_error import Asked, error_bounds, tied_names
from perfmodel.load import decode_load, prefill_load
from perfmodel.priced import check_priced
from perfmodel.serving import ServerModel, ServerSettings, server
from servers.simulated.arguments import server_arguments
from strategies import parse_layout
from strategies.own_gpus import find_gpu
from workloads.figures.summary import figures_of
from workloads.load.profiles import is_traffic
from workloads.transcript import RequestRow

if TYPE_CHECKING:
    import pandas as pd


# Below this many runs starting further processes takes longer than they save.
WORTH_MORE_CORES = 300
MOST_CORES = 8

MOST_NOTES = 3
MIXED = (
    "layouts of one load are priced by different sources: part of what sets them apart is the "
    "sources', not the layouts'"
)

CELL = (
    "model",
    "technique",
    "gpu_type",
    "workload",
    "num_prompts",
    "max_concurrency",
    "request_rate",
)
"""What estimates of several layouts are compared at."""
NEEDED = (
    "model", "strategy", "gpu_type", "input_len", "output_len", "num_prompts", "max_concurrency",
    "output_throughput",
)  # fmt: skip


def plan_of(experiment: Experiment) -> Plan:
    """Plan the same runs for the simulated engine, each once."""
    resolve(experiment)  # an engine that does not exist is refused, though another is asked
    changed = msgspec.structs.replace(experiment, engine=SIMULATION, endpoint=None, num_runs=1)
    return make_plan(changed, SIMULATION)


def estimates(plan: Plan, assumed: ServerSettings) -> Iterator[Row]:
    """Yield a row for each run, then one for each setup that cannot be."""
    jobs = ([plan] * len(plan.setups), plan.setups, [assumed] * len(plan.setups))
    if len(plan.runs) < WORTH_MORE_CORES or len(plan.setups) == 1:
        yield from _with_ties(chain.from_iterable(map(_rows_of_setup, *jobs)))
    else:
        # A fresh interpreter each: a fork would copy whatever threads hold here.
        context = multiprocessing.get_context("spawn")
        cores = min(MOST_CORES, os.cpu_count() or 1)
        with safe_children(), ProcessPoolExecutor(cores, context) as pool:
            yield from _with_ties(chain.from_iterable(pool.map(_rows_of_setup, *jobs)))
    for refused in plan.refused:
        identity = _identity(refused.setup)
        yield from with_configuration(
            [{**identity, "feasible": False, "why": "; ".join(refused.reasons)}]
        )


def _with_ties(rows: Iterable[Row]) -> Iterator[Row]:
    """Name, in each row, the layouts of the same cell that cannot be told from it."""
    found, cells = list(rows), defaultdict[tuple[object, ...], list[Row]](list)
    for row in found:
        cells[tuple(row[name] for name in CELL)].append(row)
    told: dict[int, str] = {}
    for alike in cells.values():
        names = [str(row["strategy"]) for row in alike]
        ties = tied_names(names, [_throughput(row) for row in alike])
        told |= {id(row): others for row, others in zip(alike, ties, strict=True)}
    for row in found:
        yield {**row, "tied_with": told[id(row)]}


def _throughput(row: Row) -> float | None:
    found = row["output_throughput"]
    return found if isinstance(found, float) else None


def _rows_of_setup(plan: Plan, setup: Setup, assumed: ServerSettings) -> list[Row]:
    session = SimulatedSession(_server(plan, setup, assumed))
    rows = asyncio.run(_estimates(plan.asked_of(setup), session, plan.experiment))
    identity, kernels = _identity(setup), session.server.step_model.kernels
    # Runs share the steps that were priced: what priced them is told of all together.
    priced = {
        "kernel_tables": kernels.name if kernels else "",
        "priced_by": str(kernels.tally) if kernels else FORMULA,
    }
    return list(with_configuration([{**identity, **row, **priced} for row in rows]))


def pricing_notes(rows: Sequence[Row]) -> list[str]:
    """Say which tables of measured kernels were asked, and what of the steps they priced."""
    told = dict.fromkeys((row.get("kernel_tables"), row.get("priced_by")) for row in rows)
    notes = [f"kernels of {name}: {parts}" for name, parts in told if name]
    if len(notes) > MOST_NOTES:
        more = f"{len(notes) - MOST_NOTES} more answers in column priced_by"
        notes = [*notes[:MOST_NOTES], more]
    return [*notes, MIXED] if notes and _mixed(rows) else notes


def _mixed(rows: Iterable[Row]) -> bool:
    """Whether layouts under one load have experts by a table here and by a formula there."""
    priced = defaultdict[tuple[object, ...], set[object]](set)
    for row in rows:
        if "calibration" in row:
            priced[tuple(row.get(name) for name in CELL)].add(row["calibration"])
    return any(len(each) > 1 for each in priced.values())


def breakdowns(plan: Plan, assumed: ServerSettings) -> Iterator[Row]:
    """Yield the parts of a prefill step and of a decode step of each run's workload and load.

    Each with its step's attribution a token; units are of the first row's computing in such a step.
    """
    units_s: dict[str, float] = {}
    for run in plan.as_asked:
        cell = run.cell
        on = _server(plan, cell.setup, assumed)
        step, workload = on.step_model, cell.workload
        in_flight = min(cell.load.max_concurrency or cell.num_prompts, cell.num_prompts)
        batch = max(1, -(-in_flight // step.layout.dp))
        window = step.model.reach
        loads = {
            "prefill": prefill_load(1, workload.input_len, window=window),
            "decode": decode_load(
                batch, workload.input_len + workload.output_len // 2, window=window
            ),
        }
        for phase, load in loads.items():
            cost = step_cost(step, [load] * (step.layout.dp if step.lockstep else 1))
            a_token = cost.attribution.a_token(load.tokens * step.layout.dp)
            unit_s = units_s.setdefault(phase, a_token["compute"])
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
                    "calibration": step.pricing,
                    "priced_by": part.priced_by,
                    **{f"{name}_us_per_token": 1e6 * each for name, each in a_token.items()},
                    **{f"{name}_units": each / unit_s for name, each in a_token.items()},
                }


def measured_runs(frame: "pd.DataFrame") -> list[MeasuredRun]:
    """Turn a run table's valid closed-loop rows into runs to fit; refuse one that lacks columns.

    Rows of traffic whose requests are not all alike are left out: a fit takes them as equal.
    """
    missing = [name for name in NEEDED if name not in frame]
    if missing:
        raise BadFile(frame["source_file"].iloc[0], f"no column {', '.join(map(repr, missing))}")
    usable = frame.dropna(subset=["max_concurrency", "output_throughput"])
    if "request_rate" in usable:
        usable = usable[usable["request_rate"].isna()]
    if "verdict" in usable:
        usable = usable[usable["verdict"].isin(["valid", ""])]
    if "workload" in usable:  # of requests that differ the means say too little
        usable = usable[~usable["workload"].astype(str).map(is_traffic).astype(bool)]
    return [_measured(row) for row in usable.to_dict("records")]


def _measured(row: dict[Any, Any]) -> MeasuredRun:
    try:
        model, layout = load_model(str(row["model"])), parse_layout(str(row["strategy"]))
        check_priced(layout, model)
        return MeasuredRun(
            model=model,
            layout=layout,
            gpu=find_gpu(str(row["gpu_type"])),
            input_len=int(row["input_len"]),
            output_len=int(row["output_len"]),
            num_prompts=int(row["num_prompts"]),
            max_concurrency=int(row["max_concurrency"]),
            output_throughput=float(row["output_throughput"]),
            mean_ttft_ms=_positive(row.get("mean_ttft_ms")),
        )
    except (InputError, ValueError) as error:
        raise BadFile(row["source_file"], f"row {row['source_row']}: {error}") from error


def _positive(value: object) -> float | None:
    """A figure that was measured, or None."""
    known = isinstance(value, int | float) and value > 0
    return float(value) if known and isinstance(value, int | float) else None


def _server(plan: Plan, setup: Setup, assumed: ServerSettings) -> ServerModel:
    assert setup.layout is not None
    assert setup.gpu is not None
    workloads = [run.cell.workload for run in plan.asked_of(setup)]
    longest = max(workload.longest_tokens for workload in workloads)
    requested = server_arguments(setup.server_args)
    return server(
        held_model(setup, plan.models[setup.model], requested),
        setup.layout,
        setup.gpu,
        longest=requested.longest(longest),
        setup=assumed_of(setup, requested, caching(workloads, assumed)),
    )


async def _estimates(
    runs: Iterable[Run], session: SimulatedSession, experiment: Experiment
) -> list[Row]:
    return [await _estimate(run, session, experiment) for run in runs]


async def _estimate(run: Run, session: SimulatedSession, experiment: Experiment) -> Row:
    rows: list[RequestRow] = []
    measurement = await session.measure(run, Callbacks(on_row=rows.append))
    cell, load, on = run.cell, run.cell.load, session.server
    summary = figures_of(rows, goodput=experiment.goodput, max_concurrency=load.max_concurrency)
    bounds = ("launch", "memory", "compute", "communication", "host")
    shares = {name: _share(measurement.figures.get(f"{name}_share")) for name in bounds}
    throughput = summary["output_throughput"]
    layout, used, kernels = on.step_model.layout, on.step_model.pricing, on.step_model.kernels
    return {
        **cell_columns(cell),
        "engine_version": f"{used}: {kernels.name}" if kernels and kernels.any else used,
        # What was assumed by its effect: arguments and flags that ask for the same are one server.
        "server_args": "",
        "max_num_seqs": on.limits.max_num_seqs,
        "max_num_batched_tokens": on.limits.max_num_batched_tokens,
        "prefix_cached": on.limits.prefix_cached,
        **({"prefix_caching": "on"} if on.limits.prefix_caching else {}),
        **summary,
        "output_throughput_per_gpu": throughput / layout.num_gpus if throughput else None,
        **measurement.figures,
        **error_bounds(used, layout, on.step_model.gpu, summary, _asked(run, on)),
        "kv_tokens_capacity": on.kv_tokens_capacity,
        "feasible": True,
        "bound": max(shares, key=lambda name: shares[name]),
        "calibration": used,
        "assumptions": "; ".join(on.memory.assumptions),
    }


def _asked(run: Run, on: ServerModel) -> Asked:
    cell = run.cell
    loads = [load for load in (cell.num_prompts, cell.load.max_concurrency) if load]
    return Asked(
        total_params=on.step_model.model.total_params,
        input_len=cell.workload.input_len,
        output_len=cell.workload.output_len,
        in_flight=min(loads) if cell.load.max_concurrency else None,
    )


def _share(value: float | int | str | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _identity(setup: Setup) -> Row:
    return {"provenance": "simulated", **setup_columns(setup), "hardware": setup.hardware}
