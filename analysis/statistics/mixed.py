"""Linear mixed model with the server launch as random effect."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from analysis.statistics.design import TIMES, Design, design
from analysis.statistics.random_intercept import random_intercept
from analysis.statistics.replication import CONDITION, replication

# A fit inverts dense matrices of this width; beyond it only main effects stay in the model.
MOST_PARAMETERS = 200
Term = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MixedEffect:
    """F-test of a factor against the variation it was exposed to."""

    factor: str
    df: int
    df_residual: int
    f: float
    p: float


@dataclass(frozen=True, slots=True)
class MixedFit:
    """y = condition + launch + residual, by restricted maximum likelihood."""

    effects: tuple[MixedEffect, ...]
    launches: int
    launch_variance: float
    residual_variance: float
    separable: bool
    """Whether the rows tell the variation between launches from that within them."""

    @property
    def launch_share(self) -> float | None:
        """Intraclass correlation: the part of the unexplained variance that is the launch's."""
        total = self.launch_variance + self.residual_variance
        return self.launch_variance / total if self.separable else None


def mixed_model(
    frame: pd.DataFrame, y: np.ndarray, factors: Sequence[str], *, order: int = 1
) -> MixedFit | None:
    """Fit when launches are replicated and every pair of levels was run, else None.

    Fixed effects: the factors that a launch fixes, fully crossed, the conditions within a launch,
    and all their pairs. Denominator degrees of freedom by containment: launches − between-launch
    cells for a factor that a launch fixes, the remaining rows for one that varies within launches.
    In a balanced table the first is the F-test on launch means (Pinheiro and Bates 2000, 2.4.2).
    Interactions of the factors up to `order` are tested where the model has them; one whose
    factors are all fixed by the launch varies between launches only, as they do.
    None as well where holes in the crossing (several experiments in one input) leave effects
    without a test, and where the model explains every digit, as it does copies of runs.
    """
    found = replication(frame, factors)
    if not found.launches_replicated:
        return None
    launch = frame["server_group"].astype(str)
    varying = [c for c in dict.fromkeys((*factors, "strategy", *CONDITION)) if c in frame]
    varying = [c for c in varying if frame[c].nunique() > 1]
    fixed = [c for c in varying if frame.groupby(launch)[c].nunique().max() == 1]
    made = design(frame, y, [*fixed, *(c for c in varying if c not in fixed)])
    terms = _terms(made, len(fixed), order)
    blocks = [made.columns(term) for term in ((), *terms)]
    crossing = np.hstack(blocks)
    fitted = random_intercept(crossing, np.asarray(y, dtype=float), launch.to_numpy(dtype=str))
    if fitted is None:
        return None
    ends = np.cumsum([block.shape[1] for block in blocks])
    places = {
        frozenset(term): slice(int(start), int(end))
        for term, start, end in zip(terms, ends[:-1], ends[1:], strict=True)
    }
    df_within = len(frame) - found.launches - (crossing.shape[1] - found.cells)
    effects = tuple(
        _effect(TIMES.join(chosen), fitted.f(place), place.stop - place.start, rest)
        for size in range(1, order + 1)
        for chosen in combinations(factors, size)
        for place in [places.get(frozenset(chosen))]
        for rest in [found.launches - found.cells if set(chosen) <= set(fixed) else df_within]
        if place is not None and rest > 0
    )
    return MixedFit(
        effects,
        found.launches,
        fitted.group_variance,
        fitted.residual_variance,
        fitted.separable,
    )


def _terms(made: Design, fixed: int, order: int) -> list[Term]:
    """Fully crossed what a launch fixes; beside it the rest, and as many crossings as it holds."""
    between, within = made.factors[:fixed], made.factors[fixed:]
    crossed_up_to = 1
    sizes = [made.levels(factor) - 1 for factor in made.factors]
    # All pairs, and the interactions asked for, as long as the fit can hold them.
    for more in range(2, max(2, min(order, len(sizes))) + 1):
        width = sum(math.prod(chosen) for k in range(more + 1) for chosen in combinations(sizes, k))
        if width <= MOST_PARAMETERS:
            crossed_up_to = more
    terms: list[Term] = _up_to(between, len(between)) + [(name,) for name in within]
    return list(dict.fromkeys(terms + _up_to(made.factors, crossed_up_to)))


def _up_to(factors: Term, order: int) -> list[Term]:
    return [chosen for size in range(1, order + 1) for chosen in combinations(factors, size)]


def _effect(factor: str, f: float, df: int, df_residual: int) -> MixedEffect:
    return MixedEffect(factor, df, df_residual, f, float(stats.f.sf(f, df, df_residual)))
