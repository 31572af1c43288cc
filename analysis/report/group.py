"""Everything the page says about the runs of one provenance."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pandas as pd

from analysis.anova import Anova, AnovaModel, anova
from analysis.compare import Comparison, ComparisonSpec, compare
from analysis.crossover import Crossover, crossovers
from analysis.data.arms import usable_rows
from analysis.data.load import COLUMN
from analysis.data.reached import reached
from analysis.laboratory import winner_changes
from analysis.report.advice import Advice, advice
from analysis.report.carried import capacity_answers
from analysis.statistics.contrast import Rule
from analysis.tables.paper_tables import tables
from analysis.tables.table import Table
from analysis.winners import winners
from catalog.errors import InputError
from orchestrator.results.record import SIMULATED
from perfmodel.known_error import error_note, pricing_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProvenanceGroup:
    """Analyses of one provenance; None where the runs do not allow one, with the reason."""

    name: str
    runs: int
    valid: int
    """Runs that count; copies of a load that was not reached are among them."""
    answers: list[Advice] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    comparison: Comparison | None = None
    crossovers: list[Crossover] = field(default_factory=list)
    anova: Anova | None = None
    winners: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Why an analysis is not there."""


def group_of(
    rows: pd.DataFrame, name: str, reference: str | None, margin: float
) -> ProvenanceGroup:
    """Analyse the valid runs; what cannot be done becomes a sentence, not an error."""
    valid = usable_rows(rows)
    usable, loads = reached(valid)
    made = ProvenanceGroup(name=name, runs=len(rows), valid=len(valid))
    if usable.empty:
        text = f"No answer: none of the {len(rows)} {name} runs is valid (see Validity)."
        return replace(made, missing=[text])
    notes = [*_calibrations(usable), *loads]
    if usable["strategy"].nunique() < 2:
        found = capacity_answers(rows)
        return replace(made, answers=found, notes=notes)
    return _compared(
        usable, made, ComparisonSpec(reference=reference, rule=Rule(margin=margin)), notes
    )


def _compared(
    usable: pd.DataFrame, made: ProvenanceGroup, spec: ComparisonSpec, notes: list[str]
) -> ProvenanceGroup:
    """Add what two strategies or more allow."""
    missing: list[str] = []
    known = spec.reference if spec.reference in set(usable["strategy"]) else None
    spec = replace(spec, reference=known)
    listed = _attempt(lambda: tables(usable), "tables", missing)
    comparison = _attempt(lambda: compare(usable, spec), "comparison", missing)
    changes = _attempt(lambda: crossovers(usable, spec), "crossover", missing)
    variance = _attempt(lambda: anova(usable, _model(usable)), "analysis of variance", missing)
    best = _attempt(lambda: winners(usable, spec), "best strategies", missing)
    found = None
    moved = None
    if best is not None:
        moved = _attempt(lambda: winner_changes(usable, spec, best), "change of winners", missing)
        found = _attempt(
            lambda: advice(usable, spec, best, changes or [], moved), "answer", missing
        )
    all_notes = [
        *notes,
        *(comparison.notes if comparison else ()),
        *(variance.notes if variance else ()),
    ]
    return replace(
        made,
        answers=found or [],
        tables=listed or [],
        comparison=comparison,
        crossovers=changes or [],
        anova=variance,
        winners=pd.DataFrame() if best is None else best,
        notes=list(dict.fromkeys(note for note in all_notes if "runs left out" not in note)),
        missing=missing,
    )


def _calibrations(rows: pd.DataFrame) -> list[str]:
    """How far the model behind simulated rows is known to be off."""
    if "provenance" not in rows or "engine_version" not in rows:
        return []
    used = rows.loc[rows["provenance"] == SIMULATED, "engine_version"]
    names = dict.fromkeys(map(pricing_of, map(str, used.unique())))
    return [error_note(name) for name in names if name]


def _model(rows: pd.DataFrame) -> AnovaModel:
    """Each factor of the paper that varies here."""
    factors = [f for f in (*COLUMN.values(), "strategy", "model", "workload") if f in rows]
    varying = tuple(f for f in factors if rows[f].notna().all() and rows[f].nunique() > 1)
    return AnovaModel(factors=varying or ("strategy",))


def _attempt(make: Callable[[], T], what: str, missing: list[str]) -> T | None:
    try:
        return make()
    except InputError as error:
        missing.append(f"No {what}: {error}")
        return None
