"""Run tables into cases: features of every option, replicates averaged, ties from their noise."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from analysis.data.conditions import LAYOUT, levels, mixed_columns, refuse_mixed
from analysis.data.frame import require
from analysis.data.source_location import source_of
from analysis.predict.cases import Cases
from analysis.predict.features import features, with_rivals
from analysis.predict.objective import COLUMN, SAME, ObjectiveName, per_throughput
from analysis.predict.options import family
from analysis.predict.steady_state import Demand, serving, steady_state
from catalog.errors import BadFile, Infeasible, InputError
from catalog.from_hf import load_model
from catalog.models import Model
from perfmodel.arrays import FloatArray
from perfmodel.constants import Constants
from perfmodel.serving import ServerModel
from strategies.own_gpus import find_gpu
from strategies.parse import parse_layout
from workloads.load.profiles import is_traffic

RIVALS = "analytic_behind_best"
TRAFFIC = (
    "provenance", "model", "input_len", "output_len", "num_prompts", "max_concurrency",
)  # fmt: skip
ENGINE = ("engine", "engine_version")
OPTION = [*TRAFFIC, "strategy", "gpu_type"]
DEFAULT_TIE = 0.03
"""Share of the best that is a tie where nothing was repeated: an assumption."""
DEFAULT_RUN_SD = 0.03
"""Of one run's logarithm where nothing was repeated: an assumption. Published measurements of one
layout under one load moved by 5 to 8 % from day to day."""
COPIES = 1e-12
"""Variance of logarithms below which repeats are copies of one simulated run."""
NOT_USED = "not valid, not closed loop, of lengths that differ, or without a value"
LEAST = 1e-3
"""Stands for a goodput of zero, as a share of the analytic rate: a logarithm needs a number."""


def read_cases(
    frame: pd.DataFrame,
    *,
    objective: ObjectiveName = "throughput",
    constants: Constants | None = None,
    tie: float | None = None,
    pool: Sequence[str] = (),
) -> Cases:
    """Turn valid closed-loop rows into cases with two options or more.

    Rows of different provenance never share a case; what would be averaged and differs in more
    (a GPU's server, a version, a label) is refused unless `pool` overlooks it, and so are engines
    in which the options of a case differ beside their layouts. A row whose model, layout or GPU is
    unknown, or that has no rival, is left out and counted.
    """
    require(frame, (*TRAFFIC[1:], "strategy", "gpu_type", COLUMN[objective]))
    usable = _usable(frame, objective)
    skipped = Counter({NOT_USED: len(frame) - len(usable)})
    # A workload's name is no more than its lengths, which tell options apart already.
    told = (*OPTION, *LAYOUT, "workload", "burstiness", "hardware", *pool)
    refuse_mixed(
        usable, mixed_columns(usable.drop(columns=COLUMN[objective]), OPTION, but=told), ways=""
    )
    _refuse_engines(usable, objective, pool)
    reader = _OptionBuilder(objective, constants)
    kept = []
    for row in _means(usable, objective).to_dict("records"):
        try:
            kept.append(reader.option(row))
        except (InputError, Infeasible, ValueError) as error:
            skipped[str(error).split(":")[0][:80]] += 1
    found = pd.DataFrame(kept)
    if not kept or not (rivalled := _rivalled(found, objective)).any():
        raise BadFile(source_of(frame), "no decision: no two known layouts under the same load")
    skipped["no rival under the same load and GPUs"] += int((~rivalled).sum())
    margin = noise(usable, objective) if tie is None else tie
    varied = run_variation(usable, objective)
    run_sd = DEFAULT_RUN_SD if varied is None else varied[0]
    cases = _assemble(found[rivalled], objective, tie=margin, skipped=+skipped)
    return replace(cases, run_sd=run_sd)


def _refuse_engines(usable: pd.DataFrame, objective: ObjectiveName, pool: Sequence[str]) -> None:
    """Raise BadFile where one layout ran on another engine than the next: which of both decided?"""
    case = [*TRAFFIC, *(name for name in SAME[objective] if name in ("gpu_type", *usable))]
    told = [name for name in ENGINE if name in usable]
    for name in mixed_columns(usable[[*dict.fromkeys(case), *told]], case, but=pool):
        raise BadFile(
            source_of(usable),
            f"layouts of one load differ in {name} ({levels(usable, name)}) too, which may be what "
            f"sets them apart: choose with --where {name}=VALUE or --pool {name}",
        )


def _usable(frame: pd.DataFrame, objective: ObjectiveName) -> pd.DataFrame:
    kept = frame[COLUMN[objective]].notna() & frame["max_concurrency"].notna()
    for name, allowed in (("verdict", ("valid", "")), ("technique", ("none", ""))):
        if name in frame:
            kept &= frame[name].astype(str).isin(allowed)
    if "request_rate" in frame:
        kept &= frame["request_rate"].isna()
    if "workload" in frame:  # lengths stand for a workload only where all requests have them
        kept &= ~frame["workload"].astype(str).map(is_traffic).astype(bool)
    if objective != "goodput":
        kept &= frame[COLUMN[objective]] > 0
    usable = frame[kept]
    if "provenance" not in usable:
        usable = usable.assign(provenance="unstated")
    return usable


def _means(usable: pd.DataFrame, objective: ObjectiveName) -> pd.DataFrame:
    """One row an option: the mean of its replicates."""
    kept = [*OPTION, *(["architecture"] if "architecture" in usable else [])]
    groups = usable.groupby(OPTION, sort=False, dropna=False)
    merged = groups[COLUMN[objective]].agg(found="mean", runs="size").reset_index()
    firsts = usable.drop_duplicates(OPTION)[kept]
    return merged.merge(firsts, on=OPTION, how="left")


def noise(usable: pd.DataFrame, objective: ObjectiveName) -> float:
    """Share within which two options' means are one: 1.96 √(2/n) s, s pooled over replicates.

    s is of logarithms; 3 % where nothing was repeated.
    """
    varied = run_variation(usable, objective)
    if varied is None:
        return DEFAULT_TIE
    sd, runs = varied
    return float(1.96 * sd * np.sqrt(2 / runs))


def run_variation(usable: pd.DataFrame, objective: ObjectiveName) -> tuple[float, float] | None:
    """Pooled standard deviation of a run's logarithm, and the mean replicates of an option.

    None where nothing was repeated, or repeats are copies of one run.
    """
    positive = usable[usable[COLUMN[objective]] > 0]
    logs = np.log(positive[COLUMN[objective]])
    groups = logs.groupby([positive[key] for key in OPTION])
    count, variance = groups.size(), groups.var()
    repeated = count > 1
    if not repeated.any():
        return None
    freedom = (count - 1)[repeated]
    pooled = float((variance[repeated] * freedom).sum() / freedom.sum())
    return None if pooled < COPIES else (float(np.sqrt(pooled)), float(count.mean()))


class _OptionBuilder:
    """Builds each server once."""

    def __init__(self, objective: ObjectiveName, constants: Constants | None) -> None:
        self._objective, self._constants = objective, constants
        self._servers: dict[tuple[str, str, str, int], ServerModel] = {}
        self._models: dict[str, Model] = {}

    def option(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        demand = Demand(
            *(int(row[name]) for name in TRAFFIC[2:])  # lengths, prompts, concurrency
        )
        on = self._server(row, demand.input_len + demand.output_len)
        found = steady_state(on, demand)
        step = on.step_model
        scale = per_throughput(self._objective, step.layout, step.gpu)
        rate = found.output_throughput
        if self._objective == "goodput":
            rate /= demand.output_len
        return {
            **row,
            "num_gpus": step.layout.num_gpus,
            "gpu_type": step.gpu.name,
            "family": family(step.layout),
            "experts": step.model.experts.count if step.model.experts else 0,
            "value": max(float(row["found"]), LEAST * rate) * scale,
            "analytic": np.log(rate * scale),
            "features": features(on, demand, found),
        }

    def _server(self, row: Mapping[Any, Any], longest: int) -> ServerModel:
        key = (str(row["model"]), str(row["strategy"]), str(row["gpu_type"]), longest)
        if key not in self._servers:
            layout, device = parse_layout(key[1]), find_gpu(key[2])
            self._servers[key] = serving(
                self._model(row), layout, device, longest=longest, constants=self._constants
            )
        return self._servers[key]

    def _model(self, row: Mapping[Any, Any]) -> Model:
        """From the row's own architecture where a study wrote one, else by its name."""
        name = str(row["model"])
        if name not in self._models:
            text = row.get("architecture")
            known = isinstance(text, str) and text != ""
            self._models[name] = (
                msgspec.json.decode(str(text), type=Model) if known else load_model(name)
            )
        return self._models[name]


def _rivalled(found: pd.DataFrame, objective: ObjectiveName) -> pd.Series:
    size = found.groupby([*TRAFFIC, *SAME[objective]], dropna=False)["strategy"].transform("size")
    return size > 1


def _assemble(
    found: pd.DataFrame, objective: ObjectiveName, *, tie: float, skipped: Mapping[str, int]
) -> Cases:
    case = found.groupby([*TRAFFIC, *SAME[objective]], dropna=False, sort=False).ngroup()
    found = found.assign(case=case).sort_values("case", kind="stable").reset_index(drop=True)
    names = list(found["features"].iloc[0])
    matrix: FloatArray = np.array([[row[name] for name in names] for row in found["features"]])
    numbers = found["case"].to_numpy(dtype=np.int64)
    return Cases(
        matrix=with_rivals(matrix, names, numbers),
        names=(*names, RIVALS),
        analytic=found["analytic"].to_numpy(dtype=float),
        value=found["value"].to_numpy(dtype=float),
        case=numbers,
        **{
            name: found[column].to_numpy(dtype=str)
            for name, column in (
                ("family", "family"),
                ("strategy", "strategy"),
                ("model", "model"),
                ("hardware", "gpu_type"),
                ("provenance", "provenance"),
            )
        },
        experts=found["experts"].to_numpy(dtype=np.int64),
        demand=found[list(TRAFFIC[2:])].to_numpy(dtype=np.int64),
        runs=found["runs"].to_numpy(dtype=np.int64),
        run_sd=DEFAULT_RUN_SD,
        tie=tie,
        skipped=skipped,
    )
