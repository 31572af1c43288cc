"""Statistics in plain words, with the numbers behind them."""

import pandas as pd

from analysis.anova import Anova
from analysis.series import residuals
from analysis.statistics.effects import Effect
from analysis.tables.render import number
from catalog.errors import InputError
from orchestrator.results.record import SIMULATED

NAMES = {
    "max_concurrency": "Concurrency",
    "request_rate": "Request rate",
    "strategy": "Strategy",
    "model": "Model",
    "workload": "Workload",
}
HOLDS = {True: "holds", False: "does not hold", None: "was not checked"}


def p_text(p: float | None) -> str:
    """A p-value as papers print it."""
    if p is None:
        return "–"
    return "p < 0.001" if p < 1e-3 else f"p = {number(p, digits=2)}"


def effect_sentences(found: Anova) -> list[str]:
    """One sentence for each factor, the largest share first."""
    pairs = list(zip(found.effects, found.companions, strict=True))
    ranked = sorted(pairs, key=lambda pair: -pair[0].eta_squared)
    return [
        f"{NAMES.get(effect.factor, effect.factor)} alone explains "
        f"{number(100 * effect.eta_squared, digits=3)} % of the variance "
        f"({number(100 * beside.eta_squared_low, digits=3)} to "
        f"{number(100 * beside.eta_squared_high, digits=3)} %): {f_text(effect)}."
        for effect, beside in ranked
    ]


def f_text(effect: Effect) -> str:
    """F with its degrees of freedom and p."""
    df = f"F({effect.df}, {effect.df_residual})"
    return f"{df} = {number(effect.f)}, {p_text(effect.p)}"


def check_sentences(found: Anova) -> list[str]:
    """What does not hold, and what to do."""
    return [
        f"{NAMES.get(check.of, check.of)}: {check.assumption} "
        f"{HOLDS[check.holds]} ({check.test}"
        f"{'' if check.p is None else ', ' + p_text(check.p)})"
        f"{'' if check.holds else ': ' + check.advice}."
        for check in found.checks
    ]


def mixed_sentences(found: Anova) -> list[str]:
    """What remains of each effect when launches, not rows, are counted."""
    if found.mixed is None:
        return []
    share = found.mixed.launch_share
    first = (
        f"{found.mixed.launches} server launches, whose own variation these runs do not tell from "
        "that between runs or between the levels compared."
        if share is None
        else f"{found.mixed.launches} server launches: {number(100 * share, digits=3)} % of the "
        "unexplained variation is between launches (mixed model with the launch as random effect)."
    )
    return [
        first,
        *(
            f"{NAMES.get(e.factor, e.factor)}, counted by launches: F({e.df}, {e.df_residual}) = "
            f"{number(e.f)}, {p_text(e.p)}."
            for e in found.mixed.effects
        ),
    ]


def agreement_sentences(frame: pd.DataFrame) -> list[str]:
    """How measured throughput compares with simulated, strategy by strategy."""
    if "provenance" not in frame or "measured" not in set(frame["provenance"]):
        return []
    against = SIMULATED if SIMULATED in set(frame["provenance"]) else "estimated"
    try:
        both = residuals(frame)
    except InputError:
        return []
    return [
        f"{strategy}: measured is {number(ratio.median(), digits=3)} times {against} (median of "
        f"{len(ratio)} conditions, {number(ratio.min(), digits=3)} to "
        f"{number(ratio.max(), digits=3)})."
        for strategy, ratio in both.groupby("strategy")["ratio"]
    ]
