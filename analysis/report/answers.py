"""The answer in sentences: which strategy when, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.compare import Contrast, Question, compare
from analysis.contrast import Rule
from analysis.crossover import Crossover
from analysis.order import ordered, shown
from analysis.render import number
from analysis.series import winners
from catalog.errors import InputError


@dataclass(frozen=True, slots=True)
class Answer:
    """What to do for one model, and the evidence in plain words."""

    model: str
    headline: str
    sure: str
    points: tuple[str, ...]


def answers(rows: pd.DataFrame, rule: Rule, changes: Sequence[Crossover]) -> list[Answer]:
    """One answer a model, from its winners, contrasts and crossovers."""
    best = winners(rows)
    return [
        _answer(
            str(model),
            rows[rows["model"] == model],
            best[best["model"] == model],
            rule,
            [c for c in changes if dict(c.key).get("model") == model],
        )
        for model in ordered(rows["model"])
    ]


def _answer(
    model: str, rows: pd.DataFrame, best: pd.DataFrame, rule: Rule, changes: Sequence[Crossover]
) -> Answer:
    wins = best["strategy"].value_counts()
    top = str(wins.index[0])
    if rows["strategy"].nunique() < 2:
        return Answer(model, f"Only {top} was run.", "There is nothing to compare it with.", ())
    return Answer(
        model,
        _headline(best, top, int(wins.iloc[0])),
        _sureness(best),
        (*_contrasts(rows, top, rule), *_crossings(changes), *_per_gpu(rows), *_first_token(rows)),
    )


def _headline(best: pd.DataFrame, top: str, wins: int) -> str:
    total = len(best)
    if wins == total:
        return f"Use {top}: highest throughput in all {total} conditions."
    ranges = _ranges(best)
    if len(ranges) == 1:
        return f"Use {top}: highest throughput in {wins} of {total} conditions."
    parts = [f"{name} {where}" for name, where in ranges]
    return f"It depends on the load: {', '.join(parts)} ({top} leads in {wins} of {total})."


def _ranges(best: pd.DataFrame) -> list[tuple[str, str]]:
    """Runs of consecutive loads with the same most frequent winner over workloads."""
    kind = best["load_kind"].mode().iloc[0]
    rows = best[best["load_kind"] == kind]
    named = [
        (str(rows.loc[rows["load"] == load, "strategy"].mode().iloc[0]), shown(load))
        for load in ordered(rows["load"])
    ]
    spans: list[list[str]] = []
    for name, load in named:
        if spans and spans[-1][0] == name:
            spans[-1][2] = load
        else:
            spans.append([name, load, load])
    return [
        (name, f"at {kind} {low}" if low == high else f"at {kind} {low} to {high}")
        for name, low, high in spans
    ]


def _sureness(best: pd.DataFrame) -> str:
    settled = best["settled"].to_list()
    known = [value for value in settled if value is not None]
    if not known:
        return (
            "How sure is open: one run a condition, or copies of one simulated run, show no "
            "run-to-run variation."
        )
    yes = sum(map(bool, known))
    return (
        f"How sure: in {yes} of {len(best)} conditions the lead over the second is outside of "
        "run-to-run variation (95 % interval)."
    )


def _contrasts(rows: pd.DataFrame, top: str, rule: Rule) -> list[str]:
    try:
        # Sentences explore; the table of comparisons below is the adjusted family.
        question = Question(reference=top, by=("model",), rule=rule, adjust="bh")
        found = compare(rows, question)
    except InputError:
        return []
    return [_contrast(contrast) for contrast in found.contrasts]


def _contrast(found: Contrast) -> str:
    ratio = found.ratio
    share = number(100 * ratio.value, digits=3)
    text = f"{found.strategy} gives {share} % of {found.reference}'s throughput on average"
    if ratio.low is not None and ratio.high is not None and ratio.low != ratio.high:
        low, high = (number(100 * bound, digits=3) for bound in (ratio.low, ratio.high))
        text += f" (95 % interval {low} to {high}, {found.pairs} {found.paired_by}s)"
    said = {
        "better": "better",
        "worse": "worse",
        "equivalent": "equal within the margin",
        "undecided": "not decided by these runs" if found.p is not None else found.reason,
    }[found.verdict]
    needed = f"; about {found.runs_needed} runs of each would decide" if found.runs_needed else ""
    return f"{text}: {said}{needed}."


def _crossings(changes: Sequence[Crossover]) -> list[str]:
    return [_crossing(change) for change in changes if change.load is not None]


def _crossing(change: Crossover) -> str:
    where = dict(change.key).get("workload")
    if change.low is None and change.high is None:
        bounds = "no interval"
    else:
        low = "below what was run" if change.low is None else number(change.low, digits=3)
        high = "above what was run" if change.high is None else number(change.high, digits=3)
        bounds = f"95 % interval {low} to {high}"
    return (
        f"{where}: {change.better_below} below, {change.better_above} above {change.load_kind} "
        f"{number(change.load, digits=3)} ({bounds})."
    )


def _per_gpu(rows: pd.DataFrame) -> list[str]:
    column = "output_throughput_per_gpu"
    if column not in rows or rows[column].isna().any() or rows["num_gpus"].nunique() < 2:
        return []
    wins = winners(rows, column)["strategy"].value_counts()
    return [f"Per GPU, {wins.index[0]} is first in {wins.iloc[0]} of {wins.sum()} conditions."]


def _first_token(rows: pd.DataFrame) -> list[str]:
    column = "mean_ttft_ms"
    if column not in rows or rows[column].isna().any() or (rows[column] <= 0).any():
        return []
    wins = winners(rows, column)["strategy"].value_counts()
    lead = f"{wins.index[0]} in {wins.iloc[0]} of {wins.sum()} conditions"
    return [f"Shortest time to first token: {lead}."]
