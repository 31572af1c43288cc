"""What is known of each option: measured, between two measured loads, learned, or modelled."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.predict.features import features, with_rivals
from analysis.predict.learned import WIDER, outside
from analysis.predict.predictor import ANALYTIC_UNCERTAINTY, MeasuredOption, Predictor
from analysis.predict.steady_state import Demand, SteadyStateEstimate
from perfmodel.arrays import FloatArray
from perfmodel.fitted_error import Asked
from perfmodel.known_error import NORMAL_90, confidence
from perfmodel.serving import ServerModel

EvidenceSource = Literal["measured", "interpolated", "predicted", "analytic"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One option's natural logarithm of the objective, and how far it may be off."""

    log: float
    source: EvidenceSource
    option_sd: float
    """Beside its rivals: what all options share is left out."""
    level_sd: float | None
    """Of the value itself; None where nothing says."""
    outside: Mapping[str, tuple[str, ...]]
    """Where the question lies outside of what this rests on, by kind."""


Found = Sequence[tuple[ServerModel, SteadyStateEstimate]]


def analytic_evidence(found: Found, logs: FloatArray, demand: Demand) -> list[Evidence]:
    """The analytic model alone: as far off as published measurements show, wider beyond them."""
    sd, evidence = ANALYTIC_UNCERTAINTY.option_sd, []
    for (on, _), log in zip(found, logs, strict=True):
        step = on.step_model
        asked = asked_of(on, demand)
        constants = step.constants
        known = confidence(constants.name, step.layout, step.gpu, asked, fitted=constants.error)
        factor = known.factors.get("output_throughput")
        level_sd = math.log(factor) / NORMAL_90 if factor else None
        where = {"calibration": known.outside} if known.outside else {}
        wider = WIDER if known.outside or not factor else 1.0
        evidence.append(Evidence(float(log), "analytic", sd * wider, level_sd, where))
    return evidence


def asked_of(on: ServerModel, demand: Demand) -> Asked:
    """A question as known errors look at it."""
    return Asked(
        total_params=on.step_model.model.total_params,
        input_len=demand.input_len,
        output_len=demand.output_len,
        in_flight=demand.in_flight,
    )


def learned_evidence(
    found: Found, logs: FloatArray, demand: Demand, predictor: Predictor
) -> list[Evidence]:
    """The best there is of each option: its own runs, those beside it, or the forests."""
    about, rows = predictor.about, [features(on, demand, each) for on, each in found]
    model, gpu = found[0][0].step_model.model, found[0][0].step_model.gpu
    names = list(rows[0])
    matrix = np.array([[row[name] for name in names] for row in rows])
    matrix = with_rivals(matrix, names, np.zeros(len(rows), dtype=np.int64))
    predicted = predictor.log_values(matrix, logs, model=model.name)
    evidence = []
    for (on, _), row, log in zip(found, rows, predicted, strict=True):
        known = _measured(on, demand, about.measured, run_sd=about.run_sd)
        beyond = outside(about.ranges, row)
        wider = WIDER ** (len(beyond) + (gpu.name not in about.hardware))
        sds = (about.uncertainty.option_sd * wider, about.uncertainty.absolute_sd * wider)
        if known is None:
            evidence.append(Evidence(float(log), "predicted", *sds, beyond))
        elif known[1] is None:
            evidence.append(Evidence(known[0], "interpolated", *sds, {}))
        else:
            evidence.append(Evidence(known[0], "measured", known[1], known[1], {}))
    return evidence


def _measured(
    on: ServerModel, demand: Demand, known: Sequence[MeasuredOption], *, run_sd: float
) -> tuple[float, float | None] | None:
    """The log value measured at this load and its standard error, or one between two loads.

    None of both where there is neither; no standard error of what is interpolated.
    """
    step = on.step_model
    traffic = (step.model.name, step.gpu.name, step.layout.name,
               demand.input_len, demand.output_len)  # fmt: skip
    same = sorted(
        (row.max_concurrency, math.log(row.value), row.runs)
        for row in known
        if (row.model, row.gpu_type, row.strategy, row.input_len, row.output_len) == traffic
    )
    loads = [load for load, _, _ in same]
    if demand.max_concurrency in loads:
        _, log, runs = same[loads.index(demand.max_concurrency)]
        return log, run_sd / math.sqrt(runs)
    if not loads or not loads[0] < demand.max_concurrency < loads[-1]:
        return None
    logs = [value for _, value, _ in same]
    return float(np.interp(math.log(demand.max_concurrency), np.log(loads), logs)), None
