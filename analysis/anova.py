"""Analysis of variance of a run table: which factor moves the response, and how sure that is."""

from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from analysis.assumptions import Check, check_assumptions
from analysis.design import design
from analysis.effects import Companions, Effect, companions, factorial, one_way
from analysis.mixed import MixedFit, mixed_model
from analysis.place import source_of
from analysis.replication import pseudo_replication
from analysis.select import log_of, need_levels, select
from catalog.errors import BadValue

FACTORS = ("max_concurrency", "strategy", "model")
RESPONSE = "output_throughput"


@dataclass(frozen=True, slots=True)
class Model:
    """What is fitted."""

    response: str = RESPONSE
    factors: tuple[str, ...] = FACTORS
    interactions: bool = False
    order: int | None = None
    """Highest order of interaction; all of them when None."""
    kind: int = 2
    """Type of the sums of squares, 2 or 3."""
    log: bool = False
    alpha: float = 0.05
    """The intervals of η² cover with 1 − α."""


@dataclass(frozen=True, slots=True)
class Anova:
    """Effects, their companions and checks, and what to know before quoting a p."""

    model: Model
    effects: tuple[Effect, ...]
    companions: tuple[Companions, ...]
    """One for each effect of one-way fits; none for a factorial fit."""
    checks: tuple[Check, ...]
    mixed: MixedFit | None
    provenance: str
    notes: tuple[str, ...]

    def rows(self) -> list[dict[str, object]]:
        """One flat object for each effect."""
        mixed = {e.factor: e for e in self.mixed.effects} if self.mixed else {}
        rows: list[dict[str, object]] = []
        for i, effect in enumerate(self.effects):
            row: dict[str, object] = {**asdict(effect)}
            if self.companions:
                row |= asdict(self.companions[i])
            if effect.factor in mixed:
                found = mixed[effect.factor]
                row |= {"mixed_f": found.f, "mixed_df_residual": found.df_residual}
                row |= {"mixed_p": found.p}
            rows.append(row | {"response": self.response_name, "provenance": self.provenance})
        return rows

    @property
    def response_name(self) -> str:
        return f"log {self.model.response}" if self.model.log else self.model.response


def anova(
    frame: pd.DataFrame,
    model: Model | None = None,
    *,
    provenance: str | None = None,
    every_verdict: bool = False,
) -> Anova:
    """Fit each factor alone, or with `interactions` all in one model."""
    model = _with_load_of(frame, model or Model())
    _check(model)
    chosen = select(
        frame,
        response=model.response,
        factors=model.factors,
        provenance=provenance,
        every_verdict=every_verdict,
    )
    for factor in model.factors:
        need_levels(chosen.frame, factor, hint="; name those that vary with --factor")
    rows = chosen.frame
    y = log_of(rows, model.response) if model.log else rows[model.response].to_numpy(dtype=float)
    fitted = _factorial(rows, y, model) if model.interactions else _each_alone(rows, y, model)
    effects, beside, checks = fitted
    return Anova(
        model,
        effects,
        beside,
        checks,
        mixed_model(rows, y, model.factors),
        chosen.provenance,
        (*chosen.notes, *pseudo_replication(rows, model.response, model.factors), *_scope(model)),
    )


def _with_load_of(frame: pd.DataFrame, model: Model) -> Model:
    """The default factors have the load that the runs have: open loops have a request rate."""
    rates = frame["request_rate"].notna() if "request_rate" in frame else pd.Series(dtype=bool)
    if model.factors != FACTORS or not len(rates) or not rates.all():
        return model
    return replace(model, factors=("request_rate", *FACTORS[1:]))


Fitted = tuple[tuple[Effect, ...], tuple[Companions, ...], tuple[Check, ...]]


def _each_alone(rows: pd.DataFrame, y: np.ndarray, model: Model) -> Fitted:
    fits = [one_way(design(rows, y, [f], where=source_of(rows))) for f in model.factors]
    effects = tuple(fit.effects[0] for fit in fits)
    checks = tuple(
        check
        for factor, fit in zip(model.factors, fits, strict=True)
        for check in check_assumptions(factor, fit, logged=model.log)
    )
    return effects, tuple(companions(fit, alpha=model.alpha) for fit in fits), checks


def _factorial(rows: pd.DataFrame, y: np.ndarray, model: Model) -> Fitted:
    made = design(rows, y, model.factors, where=source_of(rows))
    order = len(model.factors) if model.order is None else model.order
    fit = factorial(made, order=order, kind=model.kind)
    return fit.effects, (), check_assumptions("all factors", fit, logged=model.log)


def _scope(model: Model) -> tuple[str, ...]:
    if model.interactions or len(model.factors) < 2:
        return ()
    return (
        "each factor is tested alone: the other factors are part of its residual; "
        "--interactions fits them together",
    )


def _check(model: Model) -> None:
    if model.kind not in (2, 3):
        raise BadValue("--type", model.kind, "2 or 3")
    if not model.factors:
        raise BadValue("--factor", "", "at least one column")
    if len(set(model.factors)) < len(model.factors):
        raise BadValue("--factor", ", ".join(model.factors), "each column once")
    if model.response in model.factors:
        raise BadValue("--factor", model.response, "a column other than the response")
    if model.order is not None and not 1 <= model.order <= len(model.factors):
        raise BadValue("--order", model.order, f"1 to {len(model.factors)}, the number of factors")
    if not 0 < model.alpha < 1:
        raise BadValue("--alpha", model.alpha, "between 0 and 1")
