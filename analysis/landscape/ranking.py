"""The choice: which rows meet the limits, in what order, and what would have to give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.landscape.constraint import Constraint
from analysis.landscape.objective import Objective
from analysis.landscape.pareto import pareto_front, scaled
from analysis.landscape.relax import Relaxation, relaxations
from perfmodel.arrays import BoolArray, FloatArray

RankingMethod = Literal["lexicographic", "weighted", "knee"]
UnknownPolicy = Literal["refuse", "keep"]


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is wanted of a landscape."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    how: RankingMethod = "lexicographic"
    unknown: UnknownPolicy = "refuse"
    """`refuse`: a row whose value is not known cannot be shown to meet a limit, nor be ranked.
    `keep`: it passes the limit unproved, and ranks after every row whose value is known."""
    tie: float = 0.0
    """Objective values this close, as a share of the better one, are ties."""

    @property
    def columns(self) -> tuple[str, ...]:
        named = [o.column for o in self.objectives] + [c.column for c in self.constraints]
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True, slots=True)
class Ranking:
    """One entry a row of the landscape, in its order."""

    ranks: npt.NDArray[np.int64]
    """1 is the choice, 0 a refused row."""
    reasons: tuple[str, ...]
    """Why a row was refused; empty for the ranked."""
    pareto: BoolArray
    """On the front of the ranked rows."""
    relaxations: tuple[Relaxation, ...]
    """When nothing is feasible: the least changes of the limits that let a row in."""

    @property
    def chosen(self) -> int | None:
        """Row of rank 1; None when no row is feasible."""
        first = np.flatnonzero(self.ranks == 1)
        return int(first[0]) if len(first) else None


def rank_rows(
    values: dict[str, FloatArray], criteria: Criteria, *, refused: Sequence[str] = ()
) -> Ranking:
    """Rank the rows of a landscape given as columns; `refused` holds reasons known before."""
    costs = np.column_stack([_cost(values, objective) for objective in criteria.objectives])
    reasons = _reasons(values, costs, criteria, refused)
    admitted = np.array([not reason for reason in reasons])
    ranks = np.zeros(len(costs), dtype=np.int64)
    pareto = np.zeros(len(costs), dtype=bool)
    if admitted.any():
        pareto[admitted] = pareto_front(costs[admitted])
        order = _order(costs, pareto, criteria, _slack(values, criteria))
        order = order[admitted[order]]
        ranks[order] = np.arange(1, len(order) + 1)
        return Ranking(ranks, reasons, pareto, ())
    open_rows = np.array([not text for text in refused] or [True] * len(costs))
    known = open_rows & ~np.isnan(costs).any(axis=1)
    return Ranking(ranks, reasons, pareto, relaxations(values, criteria.constraints, known))


def _cost(values: dict[str, FloatArray], objective: Objective) -> FloatArray:
    column = values[objective.column]
    return -column if objective.maximise else column


def _reasons(
    values: dict[str, FloatArray], costs: FloatArray, criteria: Criteria, refused: Sequence[str]
) -> tuple[str, ...]:
    texts = [list[str]() for _ in range(len(costs))]
    for constraint in criteria.constraints:
        column = values[constraint.column]
        broken = ~constraint.holds(column)
        unknown = np.isnan(column)
        for row in np.flatnonzero(broken & ~unknown):
            texts[row].append(f"{constraint.column} {column[row]:g}: not {constraint.text}")
        if criteria.unknown == "refuse":
            for row in np.flatnonzero(unknown):
                texts[row].append(f"{constraint.column} unknown: cannot show {constraint.text}")
    if criteria.unknown == "refuse":
        for number, objective in enumerate(criteria.objectives):
            for row in np.flatnonzero(np.isnan(costs[:, number])):
                texts[row].append(f"{objective.column} unknown: cannot be ranked")
    known = refused or [""] * len(costs)
    return tuple(own or "; ".join(text) for own, text in zip(known, texts, strict=True))


def _slack(values: dict[str, FloatArray], criteria: Criteria) -> list[FloatArray]:
    """The tie rule: more room under the limits, in their order, comes first."""
    ordered = [limit for limit in criteria.constraints if limit.relaxable]
    return [values[c.column] if c.upper else -values[c.column] for c in ordered]


def _order(
    costs: FloatArray, pareto: BoolArray, criteria: Criteria, tie_keys: list[FloatArray]
) -> npt.NDArray[np.int64]:
    """Positions of all rows, best first; refused ones lie anywhere."""
    known = np.where(np.isnan(costs), np.inf, costs)
    if criteria.how == "lexicographic" or not pareto.any():
        keys = [_levels(known[:, i], criteria.tie) for i in range(known.shape[1])]
    else:
        weights = [o.weight for o in criteria.objectives] if criteria.how == "weighted" else 1.0
        score = (scaled(known, pareto) * weights).sum(axis=1)
        keys = [_levels(score, criteria.tie)]
        if criteria.how == "knee":
            keys = [np.where(pareto, 0.0, 1.0), *keys]
    # lexsort takes the most important key last; equal rows keep theirs.
    return np.lexsort([*reversed(tie_keys), *reversed(keys)])


def _levels(cost: FloatArray, tie: float) -> FloatArray:
    """Replace each value by the best of its group of ties, groups counted from the best on."""
    if tie == 0:
        return cost
    ordered = np.unique(cost)
    levels, start = np.empty(len(ordered)), 0
    while start < len(ordered):
        best = ordered[start]
        limit = best + tie * abs(best) if np.isfinite(best) else best
        end = max(start + 1, int(np.searchsorted(ordered, limit, side="right")))
        levels[start:end] = best
        start = end
    result: FloatArray = levels[np.searchsorted(ordered, cost)]
    return result
