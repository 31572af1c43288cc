"""Everything the page says about the runs of one provenance."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd

from analysis.anova import Anova, AnovaModel, anova
from analysis.compare import Comparison, ComparisonSpec, compare
from analysis.crossover import Crossover, crossovers
from analysis.data.load import COLUMN
from analysis.data.reached import reached
from analysis.laboratory import winner_changes
from analysis.report.advice import Advice, advice
from analysis.statistics.contrast import Rule
from analysis.tables.paper_tables import tables
from analysis.tables.table import Table
from analysis.winners import winners
from catalog.errors import InputError
from orchestrator.results.record import SIMULATED
from perfmodel.constants import CALIBRATIONS
from perfmodel.known_error import error_note

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProvenanceGroup:
    """Analyses of one provenance; None where the runs do not allow one, with the reason."""

    name: str
    runs: int
    valid: int
    answers: list[Advice]
    tables: list[Table]
    comparison: Comparison | None
    crossovers: list[Crossover]
    anova: Anova | None
    winners: pd.DataFrame
    notes: list[str]
    missing: list[str]
    """Why an analysis is not there."""


def group_of(
    rows: pd.DataFrame, name: str, reference: str | None, margin: float
) -> ProvenanceGroup:
    """Analyse the valid runs; what cannot be done becomes a sentence, not an error."""
    missing: list[str] = []
    usable, loads = reached(usable_rows(rows))
    if usable.empty:
        return ProvenanceGroup(
            name=name,
            runs=len(rows),
            valid=0,
            answers=[],
            tables=[],
            comparison=None,
            crossovers=[],
            anova=None,
            winners=pd.DataFrame(),
            notes=[],
            missing=[f"No answer: none of the {len(rows)} {name} runs is valid (see Validity)."],
        )
    known = reference if reference in set(usable["strategy"]) else None
    spec = ComparisonSpec(reference=known, rule=Rule(margin=margin))
    made = _attempt(lambda: tables(usable), "tables", missing)
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
    notes = [
        *_calibrations(usable),
        *loads,
        *(comparison.notes if comparison else ()),
        *(variance.notes if variance else ()),
    ]
    return ProvenanceGroup(
        name=name,
        runs=len(rows),
        valid=len(usable),
        answers=found or [],
        tables=made or [],
        comparison=comparison,
        crossovers=changes or [],
        anova=variance,
        winners=pd.DataFrame() if best is None else best,
        notes=list(dict.fromkeys(note for note in notes if "runs left out" not in note)),
        missing=missing,
    )


def _calibrations(rows: pd.DataFrame) -> list[str]:
    """How far the model behind simulated rows is known to be off."""
    if "provenance" not in rows or "engine_version" not in rows:
        return []
    used = rows.loc[rows["provenance"] == SIMULATED, "engine_version"]
    return [error_note(str(name)) for name in used.unique() if name in CALIBRATIONS]


def usable_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The valid runs that have a throughput."""
    valid = rows if "verdict" not in rows else rows[rows["verdict"].isin(["valid", ""])]
    return valid[valid["output_throughput"].notna()]


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
