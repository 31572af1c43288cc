"""Linear mixed model with the server launch as random effect."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.formula.api import mixedlm, ols

from analysis.design import Design, design
from analysis.replication import CONDITION, replication

# A fit inverts dense matrices of this width; beyond it only main effects stay in the model.
MOST_PARAMETERS = 200


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

    @property
    def launch_share(self) -> float:
        """Intraclass correlation: the part of the unexplained variance that is the launch's."""
        total = self.launch_variance + self.residual_variance
        return self.launch_variance / total if total else 0.0


def mixed_model(frame: pd.DataFrame, y: np.ndarray, factors: Sequence[str]) -> MixedFit | None:
    """Fit when launches are replicated and every pair of levels was run, else None.

    Fixed effects: the factors that a launch fixes, fully crossed, the conditions within a launch,
    and all their pairs. Denominator degrees of freedom by containment: launches − between-launch
    cells for a factor that a launch fixes, the remaining rows for one that varies within launches.
    In a balanced table the first is the F-test on launch means (Pinheiro and Bates 2000, 2.4.2).
    """
    found = replication(frame, factors)
    if not found.launches_replicated:
        return None
    launch = frame["server_group"].astype(str)
    varying = [c for c in dict.fromkeys((*factors, "strategy", *CONDITION)) if c in frame]
    varying = [c for c in varying if frame[c].nunique() > 1]
    fixed = [c for c in varying if frame.groupby(launch)[c].nunique().max() == 1]
    made = design(frame, y, [*fixed, *(c for c in varying if c not in fixed)])
    formula = _formula(made, len(fixed))
    crossing = ols(formula, made.frame).exog
    rank = int(np.linalg.matrix_rank(crossing))
    # Holes in the crossing (several experiments in one input) leave effects that have no test.
    if rank < crossing.shape[1]:
        return None
    fitted, launch_variance = _fit(made, formula, launch.to_numpy())
    df_within = len(frame) - found.launches - (rank - found.cells)
    tests = fitted.wald_test_terms(scalar=True).table
    effects = tuple(
        _effect(factor, tests.loc[f"C({made.names[made.factors.index(factor)]}, Sum)"], rest)
        for factor in factors
        if factor in varying
        for rest in [found.launches - found.cells if factor in fixed else df_within]
        if rest > 0
    )
    return MixedFit(effects, found.launches, launch_variance, float(fitted.scale))


def _formula(made: Design, fixed: int) -> str:
    terms = [f"C({name}, Sum)" for name in made.names]
    crossed, added = " * ".join(terms[:fixed]), " + ".join(terms[fixed:])
    sizes = np.array([made.levels(factor) - 1 for factor in made.factors])
    width = 1 + sizes.sum() + (sizes.sum() ** 2 - (sizes**2).sum()) / 2
    if width <= MOST_PARAMETERS:
        added = f"({' + '.join(terms)}) ** 2"
    return "y ~ " + " + ".join(part for part in (crossed, added) if part)


def _fit(made: Design, formula: str, launch: np.ndarray) -> tuple[Any, float]:
    """Fit by REML; where no launch variance is left, its limit is ordinary least squares."""
    with warnings.catch_warnings():
        # Warnings here say that the launch variance is at its bound of zero: reported as a value.
        warnings.simplefilter("ignore")
        try:
            fitted = mixedlm(formula, made.frame, groups=launch).fit(reml=True)
            variance = float(fitted.cov_re.iloc[0, 0])
            if np.isfinite(variance) and np.isfinite(fitted.scale):
                return fitted, variance
        except np.linalg.LinAlgError:
            pass
        return ols(formula, made.frame).fit(), 0.0


def _effect(factor: str, test: "pd.Series", df_residual: int) -> MixedEffect:
    df = int(test["df_constraint"])
    # Least squares reports F, REML reports χ² = df·F.
    f = float(test["statistic"]) / (1 if "df_denom" in test.index else df)
    return MixedEffect(factor, df, df_residual, f, float(stats.f.sf(f, df, df_residual)))
