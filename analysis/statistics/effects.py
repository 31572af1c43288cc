"""One-way and factorial analysis of variance: fits by statsmodels, effect sizes beside them."""

import math
from dataclasses import dataclass

from scipy import optimize, stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.oneway import anova_oneway

from analysis.statistics.design import Design, check_cells_filled, check_residual_df
from catalog.errors import BadFile

# Below this share of the total a residual sum of squares is rounding, not variation.
NO_RESIDUAL = 1e-14
LARGE_NONCENTRALITY = 1e6
"""From here on the limit that `_eta_squared` names is right to 1e-4 of λ."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of an analysis of variance.

    η² = SS_effect/SS_total; partial η² = SS_effect/(SS_effect + SS_residual);
    ω² = (SS_effect − df·MS_residual)/(SS_total + MS_residual) (Hays, Statistics, 1963).
    """

    factor: str
    df: int
    sum_sq: float
    f: float
    p: float
    eta_squared: float
    omega_squared: float
    partial_eta_squared: float
    df_residual: int
    sum_sq_residual: float
    n: int


@dataclass(frozen=True, slots=True)
class RobustTests:
    """Tests of the same one-way question that assume less, and η²'s interval."""

    eta_squared_low: float
    eta_squared_high: float
    welch_f: float | None
    welch_df: float | None
    welch_p: float | None
    kruskal_h: float
    kruskal_p: float


@dataclass(frozen=True, slots=True)
class FittedModel:
    """Effects of a fitted model and what its assumptions are checked on."""

    effects: tuple[Effect, ...]
    residuals: tuple[float, ...]
    groups: tuple[tuple[float, ...], ...]
    """The response in each cell of the model."""


@dataclass(frozen=True, slots=True)
class _SumOfSquares:
    df: int
    sum_sq: float


def one_way(made: Design) -> FittedModel:
    """Fit y on its only factor."""
    return factorial(made, order=1)


def factorial(made: Design, *, order: int, kind: int = 2) -> FittedModel:
    """Fit main effects and interactions up to `order`; sums of squares of Type II or III."""
    check_cells_filled(made, order)
    check_residual_df(made, order)
    total = float(((made.frame["y"] - made.frame["y"].mean()) ** 2).sum())
    if total == 0:
        raise BadFile(made.where, "the response is the same in every row: nothing to explain")
    fitted = ols(made.formula(order), made.frame).fit()
    rest = float(fitted.ssr)
    if rest < NO_RESIDUAL * total:
        problem = "the factors explain every digit of the response: no variation is left to test"
        raise BadFile(made.where, f"{problem}; these rows are not independent measurements")
    table = anova_lm(fitted, typ=kind).drop(index=["Intercept", "Residual"], errors="ignore")
    df_rest = int(fitted.df_resid)
    effects = tuple(
        _effect(
            made.label(str(term)),
            _SumOfSquares(int(row["df"]), float(row["sum_sq"])),
            _SumOfSquares(df_rest, rest),
            total=total,
            n=len(made.frame),
        )
        for term, row in table.iterrows()
    )
    cells = made.frame.groupby(list(made.names), sort=False)["y"]
    groups = tuple(tuple(map(float, cell)) for _, cell in cells)
    return FittedModel(effects, tuple(map(float, fitted.resid)), groups)


def _effect(
    factor: str, effect: _SumOfSquares, residual: _SumOfSquares, *, total: float, n: int
) -> Effect:
    df, sum_sq = effect.df, effect.sum_sq
    mean_sq_residual = residual.sum_sq / residual.df
    f = sum_sq / df / mean_sq_residual
    return Effect(
        factor=factor,
        df=df,
        sum_sq=sum_sq,
        f=f,
        p=float(stats.f.sf(f, df, residual.df)),
        eta_squared=sum_sq / total,
        omega_squared=(sum_sq - df * mean_sq_residual) / (total + mean_sq_residual),
        partial_eta_squared=sum_sq / (sum_sq + residual.sum_sq),
        df_residual=residual.df,
        sum_sq_residual=residual.sum_sq,
        n=n,
    )


def robust_tests(fit: FittedModel, *, alpha: float = 0.05) -> RobustTests:
    """Welch's F, Kruskal–Wallis, and the interval of η² from the noncentral F distribution."""
    low, high = (_eta_squared(fit.effects[0], q) for q in (1 - alpha / 2, alpha / 2))
    rank = stats.kruskal(*fit.groups)
    welch = _welch(fit.groups)
    return RobustTests(
        eta_squared_low=low,
        eta_squared_high=high,
        welch_f=welch and welch[0],
        welch_df=welch and welch[1],
        welch_p=welch and welch[2],
        kruskal_h=float(rank.statistic),
        kruskal_p=float(rank.pvalue),
    )


def _eta_squared(effect: Effect, share: float) -> float:
    """η² = λ/(λ + n) at the noncentrality λ under which P(F ≤ f) is this share.

    (Steiger, Psychological Methods 9, 2004, equation 15.) Of a large λ the χ² of the residual
    alone spreads F: λ = f·df·χ²/df_residual. `confint_effectsize_oneway` of statsmodels ends at
    λ = 10,000, where the interval of a large effect no longer holds its estimate.
    """
    f, df, rest = effect.f, effect.df, effect.df_residual
    if stats.f.cdf(f, df, rest) <= share:
        return 0.0
    noncentrality = about = f * df * float(stats.chi2.ppf(1 - share, rest)) / rest

    def beyond(tried: float) -> float:
        found = float(stats.ncf.cdf(f, df, rest, tried))
        # Far out in a tail there is no number: 1 below the root, 0 above it.
        return (float(tried < about) if math.isnan(found) else found) - share

    if about < LARGE_NONCENTRALITY:
        noncentrality = optimize.brentq(beyond, 0.0, 4 * about + 100)
    return noncentrality / (noncentrality + effect.n)


def _welch(groups: tuple[tuple[float, ...], ...]) -> tuple[float, float, float] | None:
    """Welch's F, its denominator df and p; None where a group has no variance to weigh by."""
    if any(len(group) < 2 or len(set(group)) < 2 for group in groups):
        return None
    found = anova_oneway(groups, use_var="unequal", welch_correction=True)
    values = (float(found.statistic), float(found.df_denom), float(found.pvalue))
    return values if all(map(math.isfinite, values)) else None
