"""The best strategy of each condition, and whether the corrected contrasts show that it is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.compare import Decision, adjustment_of, decisions
from analysis.data.frame import require
from analysis.data.load import with_load
from analysis.data.order import ordered
from analysis.data.pairs import Stratum, strata
from analysis.question import BY, ComparisonSpec, reference_of
from orchestrator.results.quantities import is_higher_better
from orchestrator.results.record import SIMULATED
from perfmodel.known_error import tied

CONDITION = ("model", "workload", "load_kind", "load")
COLUMNS = (*CONDITION, "strategy", "runner_up", "lead", "settled", "tied_with")
Decided = Mapping[tuple[int, str, str], Decision]


def winners(frame: pd.DataFrame, spec: ComparisonSpec | None = None) -> pd.DataFrame:
    """Best strategy of each model × workload × load, its lead, and whether the runs settle it.

    Columns: model, workload, load_kind, load, strategy, runner_up, lead (ratio to the runner-up,
    above 1), settled: True where it is shown to be better than every other strategy, None where
    that could not be tested (too few replicates, or copies of one run); tied_with: of simulated
    runs alone, whose throughput is a model's, the strategies too near for the model to tell.

    Shown means by the verdicts of `compare`, whose family of contrasts with the reference is the
    same; two strategies that are not the reference are held to the family of all pairs.
    """
    spec = spec or ComparisonSpec()
    frame = with_load(frame)
    require(frame, [*CONDITION, "strategy", spec.response])
    # Strata as `compare` has them, so that its tests are these.
    by = tuple(dict.fromkeys((*CONDITION, *(name for name in BY if name in frame))))
    groups = list(strata(frame, spec.response, by, pool=spec.pool))
    reference, adjust = reference_of(frame, spec.reference), adjustment_of(spec, groups)
    spec = replace(spec, by=by)
    decided = {
        (id(each.stratum), each.strategy, each.reference): each
        for family in (None, reference)
        for each in decisions(groups, family, spec, adjust)
    }
    up = is_higher_better(spec.response, spec.better)
    modelled = spec.response.startswith("output_throughput") and _all_simulated(frame)
    rows = [
        _winner(group, means, decided, reference, higher=up)
        | {"tied_with": _tied_with(means) if modelled else ""}
        for group in groups
        if (means := _means(group))
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _means(group: Stratum) -> dict[str, float]:
    """Mean logarithm of each strategy that has any: where nothing is above zero nothing has won."""
    known = {name: logs[~np.isnan(logs)] for name, logs in group.logs.items()}
    return {name: float(np.mean(logs)) for name, logs in known.items() if len(logs)}


def _winner(
    group: Stratum, means: Mapping[str, float], decided: Decided, reference: str, *, higher: bool
) -> dict[str, object]:
    sign = -1 if higher else 1
    best, *others = sorted((str(n) for n in ordered(means)), key=lambda name: sign * means[name])
    row = {name: level for name, level in group.key if name in CONDITION}
    row |= {"strategy": best, "runner_up": others[0] if others else None, "lead": None}
    if others and len(logs := group.pairs(best, others[0]).logs):
        row["lead"] = float(np.exp(-sign * logs.mean()))
    shown = [_beats(group, best, other, decided, reference) for other in others]
    return row | {"settled": _all(shown)}


def _all_simulated(frame: pd.DataFrame) -> bool:
    return "provenance" in frame and bool((frame["provenance"] == SIMULATED).all())


def _tied_with(means: Mapping[str, float]) -> str:
    """The strategies whose mean throughput is too near to the best one's."""
    best = max(means, key=lambda name: means[name])
    near = [n for n in means if n != best and tied(math.exp(means[n]), math.exp(means[best]))]
    return ",".join(str(name) for name in ordered(near))


def _beats(group: Stratum, best: str, other: str, decided: Decided, reference: str) -> bool | None:
    """Whether the verdict says so; None without a test."""
    for names, won in (((best, other), "better"), ((other, best), "worse")):
        found = decided.get((id(group), *names))
        if found is not None and (found.reference == reference or reference not in names):
            return None if found.p is None else found.verdict == won
    return None


def _all(shown: Sequence[bool | None]) -> bool | None:
    if not shown or all(value is None for value in shown):
        return None
    return False if False in shown else None if None in shown else True
