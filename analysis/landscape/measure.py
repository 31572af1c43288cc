"""Measuring one configuration of an exploration the way `run` does, in a directory of its own."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pandas as pd

from analysis.landscape.explore import Measure
from analysis.landscape.ranking import Criteria
from analysis.landscape.space import Configuration, feasible
from catalog.errors import BadFile, BadValue, Infeasible
from catalog.from_hf import load_model
from orchestrator.experiment.asked import longest_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.hardware import gpu_named, gpus_of
from orchestrator.results.record import ColumnValue
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from strategies.layout import Layout
from workloads.load.concurrency import parse_levels

DEFAULT_LEVELS = "1..128"


def space_of(
    experiment: Experiment, layouts: Sequence[Layout], *, hardware: str
) -> tuple[Configuration, ...]:
    """Every layout that fits at every load; one model and one workload are explored at a time."""
    for name in ("models", "workloads"):
        if len(getattr(experiment, name)) != 1:
            raise BadValue(name, list(getattr(experiment, name)), "exactly one to explore")
    model = load_model(experiment.models[0])
    longest = longest_of(experiment, model.name)
    gpu = gpu_named(hardware, gpus_of(experiment.own_gpus))
    fitting = feasible(model, gpu, layouts, longest=longest)
    if not fitting:
        raise Infeasible(f"none of {len(layouts)} layouts of {model.name} fits {hardware}")
    levels = parse_levels(experiment.concurrency or DEFAULT_LEVELS)
    return tuple(Configuration(layout, level) for layout in fitting for level in levels)


def measured_by_run(experiment: Experiment, root: Path, criteria: Criteria) -> Measure:
    """Run each configuration; one measured there before is read, not run again."""

    def measure(configuration: Configuration) -> Mapping[str, float] | None:
        layout, load = configuration.layout, configuration.max_concurrency
        one = msgspec.structs.replace(
            experiment, strategies=(layout.name,), gpus=None, concurrency=str(load)
        )
        directory = root / f"{layout.name}-c{load}"
        asyncio.run(_run(one, directory))
        return metrics_of(run_rows(directory), criteria, directory)

    return measure


async def _run(experiment: Experiment, directory: Path) -> None:
    study = await prepare(experiment)
    await run_study(study, directory, listen=lambda _: None)


def metrics_of(
    rows: Sequence[Mapping[str, ColumnValue]], criteria: Criteria, where: Path
) -> Mapping[str, float] | None:
    """Means over the valid replicates of the columns criteria need; None when none is valid."""
    valid = pd.DataFrame([row for row in rows if row["verdict"] == "valid"])
    if valid.empty:
        return None
    for column in criteria.columns:
        if column not in valid or not pd.api.types.is_numeric_dtype(valid[column]):
            raise BadFile(where, f"its runs have no numbers in column {column!r}")
    means = {column: float(valid[column].mean()) for column in criteria.columns}
    return None if any(value != value for value in means.values()) else means
