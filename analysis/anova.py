"""Analysis of variance of a run table: which factor moves the response, and how sure that is."""

from dataclasses import asdict, dataclass, replace
from typing import Unpack

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.data.conditions import Pooling, kept_apart, levels, refuse_mixed
from analysis.data.select import RowSelection, Selection, log_of, need_levels, select
from analysis.data.source_location import source_of
from analysis.statistics.assumptions import AssumptionCheck, check_assumptions
from analysis.statistics.confounding import aliased_notes, uneven_notes
from analysis.statistics.design import design
from analysis.statistics.effects import Effect, RobustTests, factorial, one_way, robust_tests
from analysis.statistics.mixed import MixedFit, mixed_model
from analysis.statistics.replication import pseudo_replication
from catalog.errors import BadValue

FACTORS = ("max_concurrency", "strategy", "model")
RESPONSE = "output_throughput"


@dataclass(frozen=True, slots=True)
class AnovaModel:
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
    pool: tuple[str, ...] = ()
    """Columns whose differences may be part of the residual."""

    @property
    def fitted_order(self) -> int:
        if not self.interactions:
            return 1
        return len(self.factors) if self.order is None else self.order


@dataclass(frozen=True, slots=True)
class Anova:
    """Effects, their companions and checks, and what to know before quoting a p."""

    model: AnovaModel
    effects: tuple[Effect, ...]
    companions: tuple[RobustTests, ...]
    """One for each effect of one-way fits; none for a factorial fit."""
    checks: tuple[AssumptionCheck, ...]
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

    def frame(self) -> pd.DataFrame:
        """One row an effect."""
        return pd.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False)

    @property
    def response_name(self) -> str:
        return f"log {self.model.response}" if self.model.log else self.model.response


def anova(
    frame: pd.DataFrame,
    model: AnovaModel | None = None,
    **selected: Unpack[RowSelection],
) -> Anova:
    """Fit each factor alone, or with `interactions` all in one model."""
    model = _with_load_of(frame, model or AnovaModel())
    _check(model)
    chosen = select(
        frame,
        response=model.response,
        factors=model.factors,
        **selected,
    )
    for factor in model.factors:
        need_levels(chosen.frame, factor, hint="; name those that vary with --factor")
    # Threads gain nothing on a few hundred columns, and wait for each other on a busy machine.
    with threadpool_limits(1, user_api="blas"):
        return _fitted_to(chosen, model)


def _fitted_to(chosen: Selection, model: AnovaModel) -> Anova:
    rows = chosen.frame
    beside = _differences(rows, model)
    y = log_of(rows, model.response) if model.log else rows[model.response].to_numpy(dtype=float)
    fitted = _factorial(rows, y, model) if model.interactions else _each_alone(rows, y, model)
    return Anova(
        model,
        fitted.effects,
        fitted.companions,
        fitted.checks,
        mixed_model(rows, y, model.factors, order=model.fitted_order),
        chosen.provenance,
        (
            *chosen.notes,
            *pseudo_replication(rows, model.response, model.factors, order=model.fitted_order),
            *beside,
            *_scope(model),
        ),
    )


def _with_load_of(frame: pd.DataFrame, model: AnovaModel) -> AnovaModel:
    """The default factors have the load that the runs have: open loops have a request rate."""
    rates = frame["request_rate"].notna() if "request_rate" in frame else pd.Series(dtype=bool)
    if model.factors != FACTORS or not len(rates) or not rates.all():
        return model
    return replace(model, factors=("request_rate", *FACTORS[1:]))


def _differences(rows: pd.DataFrame, model: AnovaModel) -> tuple[str, ...]:
    """Refuse rows that no factor tells apart, and name what else changes with each factor.

    A table with names of its own has no design to hold it to: what is mixed in it is said.
    """
    mixed = mixed_in_residual(rows, model)
    if {"model", "strategy"} <= set(rows):
        refuse_mixed(rows, mixed, ways="--factor")
    said = tuple(
        f"rows that the factors do not tell apart differ in {name} ({levels(rows, name)}): that "
        f"is part of the residual; --factor {name} takes it out"
        for name in mixed
    )
    known = (*model.pool, *(model.factors if model.interactions else ()))
    found = [
        note
        for factor in model.factors
        for note in (
            *uneven_notes(rows, model.response, factor, but=known),
            *aliased_notes(rows, factor, but=(*model.factors, *model.pool)),
        )
    ]
    return (*said, *found)


def mixed_in_residual(rows: pd.DataFrame, model: AnovaModel) -> tuple[str, ...]:
    """Condition columns that differ within the cells of the design."""
    pooling = Pooling(pool=model.pool)
    return tuple(
        name
        for name in kept_apart(rows.drop(columns=model.response), pooling, within=model.factors)
        if name not in model.factors
    )


@dataclass(frozen=True, slots=True)
class _Fitted:
    effects: tuple[Effect, ...]
    companions: tuple[RobustTests, ...]
    checks: tuple[AssumptionCheck, ...]


def _each_alone(rows: pd.DataFrame, y: np.ndarray, model: AnovaModel) -> _Fitted:
    fits = [one_way(design(rows, y, [f], where=source_of(rows))) for f in model.factors]
    effects = tuple(fit.effects[0] for fit in fits)
    checks = tuple(
        check
        for factor, fit in zip(model.factors, fits, strict=True)
        for check in check_assumptions(factor, fit, logged=model.log)
    )
    return _Fitted(effects, tuple(robust_tests(fit, alpha=model.alpha) for fit in fits), checks)


def _factorial(rows: pd.DataFrame, y: np.ndarray, model: AnovaModel) -> _Fitted:
    made = design(rows, y, model.factors, where=source_of(rows))
    fit = factorial(made, order=model.fitted_order, kind=model.kind)
    return _Fitted(fit.effects, (), check_assumptions("all factors", fit, logged=model.log))


def _scope(model: AnovaModel) -> tuple[str, ...]:
    if model.interactions or len(model.factors) < 2:
        return ()
    return (
        "each factor is tested alone: the other factors are part of its residual; "
        "--interactions fits them together",
    )


def _check(model: AnovaModel) -> None:
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
