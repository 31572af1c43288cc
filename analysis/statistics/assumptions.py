"""What an F-test assumes, checked, each with what to do when it does not hold."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.statistics.effects import FittedModel

# Shapiro–Wilk's p is an approximation fitted for n ≤ 5000 (Royston 1995, AS R94).
MOST_FOR_SHAPIRO = 5000
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class AssumptionCheck:
    """One assumption of one model."""

    of: str
    """The factor or model that was fitted."""
    assumption: str
    test: str
    statistic: float | None
    p: float | None
    holds: bool | None
    """None where too few runs tell."""
    advice: str
    """What to do; empty when it holds."""


def check_assumptions(of: str, fit: FittedModel, *, logged: bool) -> tuple[AssumptionCheck, ...]:
    """Check equal variances, normal residuals and balance."""
    return (
        _equal_variances(of, fit, logged),
        _normal_residuals(of, fit, logged),
        _balance(of, fit),
    )


def _equal_variances(of: str, fit: FittedModel, logged: bool) -> AssumptionCheck:
    groups = [group for group in fit.groups if len(group) > 1]
    name, test = "equal variances", "Levene (about the median)"
    if len(groups) < 2:
        return AssumptionCheck(
            of, name, test, None, None, None, "one run a cell: add runs to check this"
        )
    rows = [np.asarray(group, dtype=float) for group in groups]
    away = [np.abs(each - np.median(each)) for each in rows]
    if all(np.allclose(each, each.mean()) for each in away):
        # Two rows are always equally far from their median: the test would divide by zero.
        return AssumptionCheck(
            of, name, test, None, None, None, "two runs a cell: add runs to check this"
        )
    found = stats.levene(*groups, center="median")
    if not found.pvalue < LEVEL:
        return AssumptionCheck(
            of, name, test, float(found.statistic), float(found.pvalue), True, ""
        )
    way = _read("Welch's F", fit) + ("" if logged else ", or analyse ratios with --log")
    return AssumptionCheck(of, name, test, float(found.statistic), float(found.pvalue), False, way)


def _normal_residuals(of: str, fit: FittedModel, logged: bool) -> AssumptionCheck:
    name = "normal residuals"
    if len(fit.residuals) > MOST_FOR_SHAPIRO:
        bera = stats.jarque_bera(fit.residuals)
        test, statistic, p = "Jarque–Bera", float(bera.statistic), float(bera.pvalue)
    else:
        shapiro = stats.shapiro(fit.residuals)
        test, statistic, p = "Shapiro–Wilk", float(shapiro.statistic), float(shapiro.pvalue)
    if p >= LEVEL:
        return AssumptionCheck(of, name, test, statistic, p, True, "")
    way = _read("Kruskal–Wallis", fit) + ("" if logged else ", or use --log")
    return AssumptionCheck(of, name, test, statistic, p, False, f"{way}; F bears mild departures")


def _read(test: str, fit: FittedModel) -> str:
    """The test that assumes less, which a model of several factors does not have."""
    alone = " of each factor alone, without --interactions" if len(fit.effects) > 1 else ""
    return f"read {test}{alone}"


def _balance(of: str, fit: FittedModel) -> AssumptionCheck:
    sizes = sorted({len(group) for group in fit.groups})
    if len(sizes) == 1:
        return AssumptionCheck(
            of, "balance", f"{sizes[0]} rows in every cell", None, None, True, ""
        )
    way = "effects share variation: compare Type II with Type III, and look why runs are missing"
    return AssumptionCheck(
        of, "balance", f"{sizes[0]} to {sizes[-1]} rows a cell", None, None, False, way
    )
