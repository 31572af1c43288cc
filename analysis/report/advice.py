"""The answer in sentences: which strategy when, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.compare import ComparisonSpec, Contrast, compare
from analysis.crossover import Crossover
from analysis.data.order import ordered, shown
from analysis.laboratory import change_sentences
from analysis.statistics.contrast import Rule, planned_runs
from analysis.tables.render import number
from analysis.winners import winners
from catalog.errors import InputError
from perfmodel.known_error import TIE

PER_GPU = "output_throughput_per_gpu"
MEASURES = (
    (PER_GPU, "Per GPU, {} is first in {}."),
    ("mean_ttft_ms", "Shortest time to first token: {} in {}."),
)


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
    """One answer a model, from its winners, contrasts and crossovers.

    `best` is what `winners` made of these rows and this question: every claim is a verdict of one
    family of contrasts, those that the page's table lists. `moved` is what `winner_changes` made
    of them.
    """
    averages = _averages(rows, spec)
    firsts = [_firsts(rows, spec, *measure) for measure in MEASURES]
    return [
        _answer(
            str(model),
            rows[rows["model"] == model],
            best[best["model"] == model],
            (
                *_moves(moved, model),
                *averages.get(str(model), ()),
                *_ties(best[best["model"] == model]),
                *_crossings([c for c in changes if dict(c.key).get("model") == model]),
                *(text for text in (first.get(str(model)) for first in firsts) if text),
            ),
        )
        for model in ordered(rows["model"])
        if (best["model"] == model).any()  # else no run of it has any throughput
    ]


def _answer(
    model: str,
    rows: pd.DataFrame,
    best: pd.DataFrame,
    points: tuple[str, ...],
) -> Advice:
    wins = best["strategy"].value_counts()
    top = str(wins.index[0])
    if rows["strategy"].nunique() < 2:
        return Advice(model, f"Only {top} was run.", "There is nothing to compare it with.", ())
    shown_best = best[[value is True for value in best["settled"].to_list()]]
    return Advice(
        model,
        _headline(best, shown_best) if len(shown_best) else _open(best, top),
        _sureness(best),
        points,
    )


def _open(best: pd.DataFrame, top: str) -> str:
    wins, total = int((best["strategy"] == top).sum()), len(best)
    plan = planned_runs(Rule(), total)
    return (
        f"Use {top} if a choice is due now, but no strategy is shown to be best: {top} has the "
        f"highest throughput in {wins} of {total} conditions, within run-to-run variation or with "
        f"too few runs to know; plan {plan} replicates of each."
    )


def _headline(best: pd.DataFrame, shown_best: pd.DataFrame) -> str:
    """Only what the verdicts show; conditions that they leave open are counted, not claimed."""
    total, count = len(best), len(shown_best)
    names = list(dict.fromkeys(shown_best["strategy"]))
    if len(names) > 1:
        where = ", ".join(f"{name} {place}" for name, place in _ranges(shown_best))
        counts = ", ".join(f"{n} in {(shown_best['strategy'] == n).sum()}" for n in names)
        rest = f"; {total - count} of {total} conditions are open" if count < total else ""
        return f"It depends on the load: {where} (shown to lead: {counts} of {total}{rest})."
    if count == total:
        return f"Use {names[0]}: highest throughput in all {total} conditions."
    return (
        f"Use {names[0]}: shown to have the highest throughput in {count} of {total} conditions; "
        "the others are open."
    )


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
        f"How sure: in {yes} of {len(best)} conditions the leader is shown to be better than every "
        "other strategy, after the correction for all comparisons of this page."
    )


def _ties(best: pd.DataFrame) -> list[str]:
    """How often a model's own doubt covers the leader's lead; only simulated rows have any."""
    near = best[best["tied_with"] != ""]
    if near.empty:
        return []
    names = ", ".join(dict.fromkeys(name for each in near["tied_with"] for name in each.split(",")))
    return [
        f"In {len(near)} of {len(best)} conditions {names} cannot be told from the leader: "
        f"estimated throughputs nearer than {TIE - 1:.0%} are a tie; measure these."
    ]


def _averages(rows: pd.DataFrame, spec: ComparisonSpec) -> dict[str, list[str]]:
    """Each strategy against the reference over a model's conditions; all models are one family."""
    try:
        found = compare(rows, replace(spec, by=("model",), adjust="bh"))
    except InputError:
        return {}
    said: dict[str, list[str]] = {}
    for contrast in found.contrasts:
        said.setdefault(str(dict(contrast.stratum.key)["model"]), []).append(_contrast(contrast))
    return said


def _contrast(found: Contrast) -> str:
    ratio = found.ratio
    share = number(100 * ratio.value, digits=3)
    text = f"{found.strategy} gives {share} % of {found.reference}'s throughput on average"
    if ratio.low is not None and ratio.high is not None and ratio.low != ratio.high:
        low, high = (number(100 * bound, digits=3) for bound in (ratio.low, ratio.high))
        text += f" (95 % interval {low} to {high}, {found.pairs} {found.paired_by}s)"
    outcome = {
        "better": "better",
        "worse": "worse",
        "equivalent": "equal within the margin",
        "undecided": "not decided by these runs" if found.p is not None else found.reason,
    }[found.verdict]
    needed = f"; about {found.runs_needed} runs of each would decide" if found.runs_needed else ""
    return f"{text}: {outcome}{needed}."


def _moves(moved: pd.DataFrame | None, model: object) -> list[str]:
    """Whether the laboratory's winner is that of traffic, where both ran."""
    if moved is None or moved.empty:
        return []
    return change_sentences(moved[moved["model"] == model])


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


def _firsts(rows: pd.DataFrame, spec: ComparisonSpec, column: str, text: str) -> dict[str, str]:
    """Of each model that has this measure everywhere: who is first most often, and how sure."""
    if column not in rows:
        return {}
    whole = rows.groupby("model")[column].transform("min") > 0
    known = rows[whole & (rows[column].notna().groupby(rows["model"]).transform("all"))]
    if column == PER_GPU:
        known = known[known.groupby("model")["num_gpus"].transform("nunique") > 1]
    if known.empty:
        return {}
    best = winners(known, replace(spec, response=column))
    return {str(model): text.format(*_counted(here)) for model, here in best.groupby("model")}


def _counted(best: pd.DataFrame) -> tuple[str, str]:
    name = str(best["strategy"].value_counts().index[0])
    mine = best.loc[best["strategy"] == name, "settled"].to_list()
    shown_in = sum(value is True for value in mine)
    return name, f"{len(mine)} of {len(best)} conditions, shown in {shown_in or 'none'}"
