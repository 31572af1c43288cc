"""Everything the page says about the runs of one provenance."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd

from analysis.anova import Anova, anova
from analysis.anova import Model as AnovaModel
from analysis.compare import Comparison, Question, compare
from analysis.contrast import Rule
from analysis.crossover import Crossover, crossovers
from analysis.load import COLUMN
from analysis.report.answers import Answer, answers
from analysis.series import winners
from analysis.table import Table
from analysis.tables import tables
from catalog.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group:
    """Analyses of one provenance; None where the runs do not allow one, with the reason."""

    name: str
    runs: int
    valid: int
    answers: list[Answer]
    tables: list[Table]
    comparison: Comparison | None
    crossovers: list[Crossover]
    anova: Anova | None
    winners: pd.DataFrame
    notes: list[str]
    missing: list[str]
    """Why an analysis is not there."""


def group_of(rows: pd.DataFrame, name: str, reference: str | None, margin: float) -> Group:
    """Analyse the valid runs; what cannot be done becomes a sentence, not an error."""
    missing: list[str] = []
    usable = _usable(rows)
    if usable.empty:
        return Group(
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
    rule = Rule(margin=margin)
    known = reference if reference in set(usable["strategy"]) else None
    question = Question(reference=known, rule=rule)
    made = _attempt(lambda: tables(usable), "tables", missing)
    comparison = _attempt(lambda: compare(usable, question), "comparison", missing)
    changes = _attempt(lambda: crossovers(usable, question), "crossover", missing)
    variance = _attempt(lambda: anova(usable, _model(usable)), "analysis of variance", missing)
    best = _attempt(lambda: winners(usable), "best strategies", missing)
    found = _attempt(lambda: answers(usable, rule, changes or []), "answer", missing)
    notes = [*(comparison.notes if comparison else ()), *(variance.notes if variance else ())]
    return Group(
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


def _usable(rows: pd.DataFrame) -> pd.DataFrame:
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
