"""What the analytic model expects of runs that were measured, where nobody simulated them."""

import contextlib
from collections.abc import Hashable, Mapping

import pandas as pd

from catalog.errors import BadFile, BadValue, MoeserveError, UnknownName
from catalog.from_hf import load_model
from catalog.hardware_table import GPUS
from orchestrator.engines.simulated.engine import rows_of_simulation, serve
from orchestrator.experiment.cells import Cell, LoadPoint, Run, Setup
from orchestrator.experiment.hardware import own_gpu_of
from orchestrator.measure.traffic import unwritten
from perfmodel.priced import check_priced
from perfmodel.serving import server
from strategies import Technique, parse_layout
from workloads.figures.summary import figures_of
from workloads.load.build import names_files
from workloads.load.profiles import TEXTS, parse_workload
from workloads.load.workload import Workload

CONDITION = (
    "model", "strategy", "gpu_type", "workload", "input_len", "output_len", "num_prompts",
    "max_concurrency", "request_rate", "burstiness",
)  # fmt: skip
NO_MODEL_OF = frozenset({"CPU"})
"""Rows of the catalog that are placeholders: an estimate for them would mean nothing."""


def estimates_of(measured: pd.DataFrame) -> pd.DataFrame:
    """Return a simulated row for each condition the catalog knows the model and the GPU of."""
    keys = [name for name in CONDITION if name in measured]
    conditions = measured[keys].drop_duplicates().astype(object)
    conditions = conditions.where(conditions.notna(), None)
    rows = [found for row in conditions.to_dict("records") if (found := _estimate(row))]
    return pd.DataFrame(rows)


def _estimate(row: Mapping[Hashable, object]) -> dict[Hashable, object] | None:
    hardware = str(row.get("gpu_type"))
    gpu = GPUS.get(hardware) or own_gpu_of(hardware, ())
    if gpu is None or gpu.name in NO_MODEL_OF:
        return None
    try:
        model, layout = load_model(str(row["model"])), parse_layout(str(row["strategy"]))
        check_priced(layout, model)
        cell = _cell(row)
        longest = cell.workload.longest_tokens
        simulated = serve(Run(cell, 0), server(model, layout, gpu, longest=longest))
    except MoeserveError:
        return None  # not a layout, model or size that can be estimated: no row, not a wrong one
    rows = rows_of_simulation(simulated, unwritten(Run(cell, 0)).requests.input_lens)
    figures: dict[Hashable, object] = {}
    figures.update(figures_of(rows, goodput={}, max_concurrency=cell.load.max_concurrency))
    return {**row, **figures, "provenance": "simulated", "verdict": "valid"}


def _cell(known: Mapping[Hashable, object]) -> Cell:
    """Rebuild a run's cell from its row; what only a server knows (arguments) is left out."""
    count = _whole(known["num_prompts"])
    concurrency, rate = known.get("max_concurrency"), known.get("request_rate")
    burstiness = known.get("burstiness")
    return Cell(
        setup=Setup(
            engine="simulated",
            model=str(known["model"]),
            layout=parse_layout(str(known["strategy"])),
            technique=Technique(),
            hardware=str(known["gpu_type"]),
            server_args=(),
            server_env=(),
            endpoint=None,
        ),
        workload=_workload(known, count),
        load=LoadPoint(
            max_concurrency=None if concurrency is None else _whole(concurrency),
            request_rate=None if rate is None else float(str(rate)),
            burstiness=None if burstiness is None else float(str(burstiness)),
        ),
        num_prompts=count,
        seed=0,
    )


def _workload(known: Mapping[Hashable, object], count: int) -> Workload:
    """Return the workload that a row names; lengths of their own where it names none.

    One of files is refused as `BadFile`: a mean of its lengths is not the workload.
    """
    name = str(known["workload"])
    if names_files(name, TEXTS):
        raise BadFile(name, "its requests are not in the row")
    with contextlib.suppress(BadValue, UnknownName):
        return parse_workload(name)
    return Workload(
        name=name,
        input_len=_whole(known["input_len"]),
        output_len=_whole(known["output_len"]),
        num_prompts=count,
    )


def _whole(value: object) -> int:
    """A table with empty cells keeps whole numbers as floats."""
    return int(float(str(value)))
