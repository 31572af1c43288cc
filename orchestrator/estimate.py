"""What the analytic model says an experiment would measure."""

import asyncio
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain

import msgspec

from catalog.python import safe_children
from orchestrator.engine import Callbacks, Measurement
from orchestrator.engines.registry import SIMULATION, resolve
from orchestrator.engines.simulated.engine import SimulatedSession
from orchestrator.engines.simulated.options import (
    assumed_of,
    beside_columns,
    caching,
    held_model,
)
from orchestrator.experiment.cells import Run, Setup
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import Plan, make_plan
from orchestrator.results.condition import cell_columns, setup_columns, with_configuration
from orchestrator.results.record import Row
from perfmodel.breakdown import step_cost
from perfmodel.engine_defaults import engine_defaults
from perfmodel.fitted_error import Asked
from perfmodel.kernel_tables.kernels import FORMULA
from perfmodel.known_error import confidence, error_bounds, tied_names
from perfmodel.load import decode_load, prefill_load
from perfmodel.serving import ServerModel, ServerSettings, server
from servers.simulated.arguments import server_arguments
from workloads.figures.summary import figures_of
from workloads.load.profiles import is_traffic
from workloads.transcript import RequestRow

Served = tuple[Measurement, list[RequestRow]]

# Below this many runs starting further processes takes longer than they save.
WORTH_MORE_CORES = 300
MOST_CORES = 8

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


def plan_of(experiment: Experiment) -> Plan:
    """Plan the same runs for the simulated engine, each once."""
    resolve(experiment)  # an engine that does not exist is refused, though another is asked
    changed = msgspec.structs.replace(experiment, engine=SIMULATION, endpoint=None, num_runs=1)
    return make_plan(changed, SIMULATION)


def estimates(plan: Plan, assumed: ServerSettings) -> Iterator[Row]:
    """Yield a row for each run, then one for each setup that cannot be."""
    jobs = ([plan] * len(plan.setups), plan.setups, [assumed] * len(plan.setups))
    if len(plan.runs) < WORTH_MORE_CORES or len(plan.setups) == 1:
        rows = _with_ties(chain.from_iterable(map(_rows_of_setup, *jobs)))
    else:
        # A fresh interpreter each: a fork would copy whatever threads hold here.
        context = multiprocessing.get_context("spawn")
        cores = min(MOST_CORES, os.cpu_count() or 1)
        with safe_children(), ProcessPoolExecutor(cores, context) as pool:
            rows = _with_ties(chain.from_iterable(pool.map(_rows_of_setup, *jobs)))
    yield from rows
    # What cannot be has every column of what can, empty.
    empty: Row = dict.fromkeys(rows[0] if rows else ())
    for refused in plan.refused:
        why = "; ".join(refused.reasons)
        told = with_configuration([{**_identity(refused.setup), "feasible": False, "why": why}])
        yield from ({**empty, **row} for row in told)


def _with_ties(rows: Iterable[Row]) -> list[Row]:
    """Name, in each row, the layouts of the same cell that cannot be told from it."""
    found, cells = list(rows), defaultdict[tuple[object, ...], list[Row]](list)
    for row in found:
        cells[tuple(row[name] for name in CELL)].append(row)
    told: dict[int, str] = {}
    for alike in cells.values():
        names = [str(row["strategy"]) for row in alike]
        ties = tied_names(names, [_throughput(row) for row in alike])
        told |= {id(row): others for row, others in zip(alike, ties, strict=True)}
    return [{**row, "tied_with": told[id(row)]} for row in found]


def _throughput(row: Row) -> float | None:
    found = row["output_throughput"]
    return found if isinstance(found, float) else None


def _rows_of_setup(plan: Plan, setup: Setup, assumed: ServerSettings) -> list[Row]:
    session = SimulatedSession(_server(plan, setup, assumed))
    rows = asyncio.run(_estimates(plan.asked_of(setup), session, plan.experiment))
    identity, kernels = _identity(setup), session.server.step_model.kernels
    told = beside_columns(setup, assumed, plan.experiment.noise)
    # Runs share the steps that were priced: what priced them is told of all together.
    priced: Row = {
        **({"assumed": told} if told else {}),
        "kernel_tables": kernels.name if kernels else "",
        "priced_by": str(kernels.tally) if kernels else FORMULA,
        "max_cudagraph_capture_size": _graphs(session.server, assumed.engine_version),
    }
    return list(with_configuration([{**identity, **row, **priced} for row in rows]))


def _graphs(on: ServerModel, version: str | None) -> int:
    """Tokens of the largest step that such a server replays as one graph; 0 where none is."""
    defaults = engine_defaults(on.step_model.gpu, on.step_model.layout, version)
    return defaults.graphs(on.limits.max_num_seqs, on.limits.max_num_batched_tokens)


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
    # Loads of all requests at once are one: with prompts of fixed lengths they are served alike.
    whole: dict[tuple[str, int], Served] = {}
    found = []
    for run in runs:
        key = (run.cell.workload.name, run.cell.num_prompts)
        served = whole.get(key) if _all_at_once(run, experiment) else None
        if served is None:
            served = await _served(run, session)
            if _all_at_once(run, experiment):
                whole[key] = served
        found.append(_estimate(run, session, experiment, served))
    return found


def _all_at_once(run: Run, experiment: Experiment) -> bool:
    load, count = run.cell.load, run.cell.num_prompts
    closed = load.request_rate is None and not experiment.noise
    alike = not is_traffic(run.cell.workload.name)
    return closed and alike and load.max_concurrency is not None and load.max_concurrency >= count


async def _served(run: Run, session: SimulatedSession) -> Served:
    rows: list[RequestRow] = []
    measurement = await session.measure(run, Callbacks(on_row=rows.append))
    return measurement, rows


def _estimate(run: Run, session: SimulatedSession, experiment: Experiment, served: Served) -> Row:
    measurement, rows = served
    cell, load, on = run.cell, run.cell.load, session.server
    summary = figures_of(rows, goodput=experiment.goodput, max_concurrency=load.max_concurrency)
    bounds = ("launch", "memory", "compute", "communication", "host")
    shares = {name: _share(measurement.figures.get(f"{name}_share")) for name in bounds}
    throughput = summary["output_throughput"]
    layout, used, kernels = on.step_model.layout, on.step_model.pricing, on.step_model.kernels
    fitted = on.step_model.constants.error
    in_flight = summary["effective_concurrency"]
    hits = float(measurement.figures.get("server_prefix_cache_hits") or 0)
    asked = _asked(run, on, in_flight, found_in_cache=hits > 0)
    asking = (used, layout, on.step_model.gpu, asked)
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
        **error_bounds(*asking[:3], summary, asking[3], fitted=fitted),
        "outside_calibration": "; ".join(confidence(*asking, fitted=fitted).outside),
        "kv_tokens_capacity": on.kv_tokens_capacity,
        "device_memory_bytes": on.memory.weight_bytes,
        "gpu_memory_bytes": on.memory.taken_bytes(_share(measurement.figures.get("peak_kv_usage"))),
        "feasible": True,
        "bound": max(shares, key=lambda name: shares[name]),
        "calibration": used,
        "assumptions": "; ".join(on.memory.assumptions),
    }


def _asked(run: Run, on: ServerModel, in_flight: float | None, *, found_in_cache: bool) -> Asked:
    """Whom the calibration is asked about; an open loop has in flight what came of it."""
    cell = run.cell
    closed = cell.load.request_rate is None and cell.load.max_concurrency
    return Asked(
        total_params=on.step_model.model.total_params,
        input_len=cell.workload.input_len,
        output_len=cell.workload.output_len,
        in_flight=min(cell.num_prompts, closed) if closed else in_flight,
        cached_prefixes=found_in_cache or on.limits.prefix_cached,
    )


def _share(value: float | int | str | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _identity(setup: Setup) -> Row:
    return {"provenance": "simulated", **setup_columns(setup), "hardware": setup.hardware}
