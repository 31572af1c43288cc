"""The answer in sentences: which strategy when, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.answer.answer import answers_of
from analysis.answer.firsts import FIRST_TOKEN, firsts
from analysis.answer.words import share
from analysis.compare import ComparisonSpec, Contrast, compare
from analysis.crossover import Crossover
from analysis.data.arms import provenance_of
from analysis.laboratory import change_sentences
from analysis.statistics.contrast import Rule
from analysis.tables.render import number
from analysis.winners import in_front
from catalog.errors import InputError
from orchestrator.results.record import SIMULATED
from perfmodel.known_error import TIE


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do for one model, and the evidence in plain words."""

    model: str
    headline: str
    sure: str
    points: tuple[str, ...]


def advice(
    rows: pd.DataFrame,
    spec: ComparisonSpec,
    best: pd.DataFrame,
    changes: Sequence[Crossover],
    moved: pd.DataFrame | None = None,
) -> list[Advice]:
    """One answer a model, and from the same contrasts what stands behind it.

    `best` is what `winners` made of these rows and this question: every claim is a verdict of one
    family of contrasts, those that the page's table lists. `moved` is what `winner_changes` made
    of them.
    """
    averages = _averages(rows, spec)
    quickest, made = firsts(rows, spec, FIRST_TOKEN), []
    for answer in answers_of(rows, spec, best):
        here = best[best["model"] == answer.model]
        mine = [c for c in changes if dict(c.key).get("model") == answer.model]
        points = (
            *(f"{text[:1].upper()}{text[1:]}." for text in answer.doubts),
            *_moves(moved, answer.model),
            *averages.get(answer.model, ()),
            *_ties(here),
            *_crossings(mine, here, simulated=answer.provenance == SIMULATED),
            *_quickest(quickest.get(answer.model)),
        )
        told = points if answer.choice else ()
        made.append(
            Advice(answer.model, answer.sentence, f"{answer.sure}." * bool(answer.sure), told)
        )
    return made


def _quickest(found: tuple[str, str] | None) -> list[str]:
    return ["Shortest time to first token: {} in {}.".format(*found)] if found else []


def _ties(best: pd.DataFrame) -> list[str]:
    """How often a model's own doubt covers the leader's lead; only simulated rows have any."""
    near = best[best["tied_with"] != ""]
    if near.empty:
        return []
    names = ", ".join(dict.fromkeys(name for each in near["tied_with"] for name in each.split(",")))
    return [
        f"In {len(near)} of {len(best)} conditions {names} cannot be told from the leader: "
        f"estimated throughputs nearer than {share(TIE - 1)} are a tie; measure these."
    ]


def _averages(rows: pd.DataFrame, spec: ComparisonSpec) -> dict[str, list[str]]:
    """Each strategy against the reference over a model's conditions; all models are one family."""
    try:
        found = compare(rows, replace(spec, by=("model",), adjust="bh"))
    except InputError:
        return {}
    said: dict[str, list[str]] = {}
    simulated = provenance_of(rows) == SIMULATED
    for contrast in found.contrasts:
        told = _contrast(contrast, spec.rule, simulated=simulated)
        said.setdefault(str(dict(contrast.stratum.key)["model"]), []).append(told)
    return said


def _contrast(found: Contrast, rule: Rule, *, simulated: bool) -> str:
    """The average, how far apart its conditions lie, and the verdict; an estimate has none."""
    ratio = found.ratio
    share = number(100 * ratio.value, digits=3)
    text = f"{found.strategy} gives {share} % of {found.reference}'s throughput on average"
    text += _by_condition(found, rule.margin)
    if simulated:  # no repeated estimate tells more
        return f"{text}: by the model."
    if ratio.low is not None and ratio.high is not None and ratio.low != ratio.high:
        low, high = (number(100 * bound, digits=3) for bound in (ratio.low, ratio.high))
        text += f" (95 % interval {low} to {high}, {found.pairs} {found.paired_by}s)"
    outcome = {
        "better": "better",
        "worse": "worse",
        "equivalent": "equal within the margin",
        "undecided": "not decided by these runs" if found.p is not None else found.reason,
    }[found.verdict]
    if found.paired_by == "condition" and found.p is not None:
        outcome += ", by single runs, across these conditions alone"
    needed = f"; about {found.runs_needed} runs of each would decide" if found.runs_needed else ""
    return f"{text}: {outcome}{needed}."


def _by_condition(found: Contrast, margin: float) -> str:
    """From where to where the conditions go, where one of them is away from the average."""
    each = 100 * found.stratum.ratios(found.strategy, found.reference)
    if each.max() - each.min() <= 100 * margin:
        return ""
    low, high = (number(bound, digits=3) for bound in (each.min(), each.max()))
    return f", {low} to {high} % by condition"


def _moves(moved: pd.DataFrame | None, model: object) -> list[str]:
    """Whether the laboratory's winner is that of traffic, where both ran."""
    if moved is None or moved.empty:
        return []
    return change_sentences(moved[moved["model"] == model])


def _crossings(changes: Sequence[Crossover], best: pd.DataFrame, *, simulated: bool) -> list[str]:
    return [
        _crossing(change, simulated=simulated)
        for change in changes
        if _changes_places(change, best)
    ]


def _changes_places(change: Crossover, best: pd.DataFrame) -> bool:
    """Whether each is beaten on the other's side: lines that cross within ties say nothing."""
    if change.load is None:
        return False
    rows = best[best["load_kind"] == change.load_kind]
    for name, level in change.key:
        rows = rows[rows[name] == level] if name in rows else rows
    sides = {
        change.better_above: rows["load"] < change.load,
        change.better_below: rows["load"] > change.load,
    }
    return all(
        any(name not in in_front(row) for row in rows[side].to_dict("records"))
        for name, side in sides.items()
    )


def _crossing(change: Crossover, *, simulated: bool) -> str:
    where = dict(change.key).get("workload")
    if simulated:  # no repeated estimate gives an interval
        bounds = "by the model"
    elif change.low is None and change.high is None:
        bounds = change.note
    else:
        low = "below what was run" if change.low is None else number(change.low, digits=3)
        high = "above what was run" if change.high is None else number(change.high, digits=3)
        bounds = f"95 % interval {low} to {high}"
    return (
        f"{where}: {change.better_below} below, {change.better_above} above {change.load_kind} "
        f"{number(change.load, digits=3)} ({bounds})."
    )
