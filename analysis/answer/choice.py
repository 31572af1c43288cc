"""Which layout a model's conditions speak for, and how far: nothing but `winners` decides."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.data.arms import provenance_of
from analysis.data.order import ordered, shown
from analysis.data.pairs import Stratum, strata
from analysis.question import ComparisonSpec
from analysis.statistics.intervals import Interval, log_interval
from analysis.winners import STANDINGS, Standing, Untested, in_front, margin_of
from orchestrator.results.quantities import is_higher_better
from orchestrator.results.record import SIMULATED

ChoiceKind = Literal["use", "ahead", "tie", "open", "depends"]
"""Shown to be best; ahead in runs that allow no test; equal within the margin; not told apart by
these runs; another one under other loads or workloads."""


@dataclass(frozen=True, slots=True)
class Lead:
    """How much better one strategy is than the best of the others."""

    over: str
    ratio: Interval
    """Above 1 where it is better; without bounds where they would say nothing of replicates."""
    least: float
    most: float
    """Over the conditions."""


@dataclass(frozen=True, slots=True)
class Place:
    """Consecutive loads with the same layouts in front."""

    layouts: tuple[str, ...]
    """Several where none of them is shown to be beaten."""
    at: str
    workloads: str
    """Of its loads those it is about; empty where it is about all of them."""
    least: float | None
    """Of the leads over the second that are beyond the margin and not open, above 1; None where
    several are in front, or the one in front has no such lead."""
    most: float | None
    ties: int
    """Conditions in which another is within the margin of the one in front, or before it."""
    unsettled: int
    """Conditions in which a lead beyond the margin is open."""
    conditions: int

    @property
    def where(self) -> str:
        return f"{self.at} ({self.workloads})" if self.workloads else self.at


@dataclass(frozen=True, slots=True)
class Choice:
    """What a model's winners come to."""

    kind: ChoiceKind
    layouts: tuple[str, ...]
    """The one to use, those that are tied or not told apart, or those it depends between."""
    lead: Lead | None
    standings: Counter[Standing]
    """Number of conditions by how their leader stands to the others."""
    pairs: int
    """The fewest that a shown standing rests on; 0 without one."""
    tested: bool
    """Whether any condition has enough runs for a test."""
    untested: Untested = ""
    """Why no condition is tested, where all of them have one reason."""
    places: tuple["Place", ...] = ()
    """Where it depends: who leads under which loads."""

    @property
    def conditions(self) -> int:
        return sum(self.standings.values())


def choice_of(rows: pd.DataFrame, best: pd.DataFrame, spec: ComparisonSpec) -> Choice:
    """Decide for the usable rows of one model, of which `best` holds the winners.

    A layout is common where it leads or is not shown to be beaten in every condition: one that is
    common alone is the choice, unless one condition outweighs its lead in the others or its mean
    lead is within the margin; several are tied, or open; without any it depends.
    """
    standings: Counter[Standing] = Counter(best["standing"].tolist())
    unbeaten = [in_front(row) for row in best.to_dict("records")]
    shared = set.intersection(*unbeaten)
    tested = best.loc[best["standing"].isin(["shown", "equal"]), "pairs"]
    pairs = int(tested.min()) if len(tested) else 0
    some = any(value is not None for value in best["settled"].to_list())
    reasons = set(best["untested"])
    why: Untested = reasons.pop() if len(reasons) == 1 else "" if some else "few"
    if not shared:
        found = _leaders(best)
        places = tuple(_places(best))
        return Choice("depends", tuple(found), None, standings, pairs, some, why, places)
    group = _whole(rows, spec)
    margin = margin_of(spec, simulated=provenance_of(rows) == SIMULATED)
    names = _by_mean(group, shared, spec)
    lead = _lead(group, names[0], set(group.logs) - shared, spec)
    if len(names) == 1:
        kind: ChoiceKind = "use" if standings["shown"] else "ahead"
        if not (standings["shown"] or standings["untested"]) or not _leads(lead, margin):
            kind = "open"
        return Choice(kind, names, lead, standings, pairs, some, why)
    alike = all(shared <= in_front(row, "equal") for row in best.to_dict("records"))
    if not alike:
        lead = _lead(group, names[0], {names[1]}, spec)
    return Choice("tie" if alike else "open", names, lead, standings, pairs, some, why)


def _leads(lead: Lead | None, margin: float) -> bool:
    """Whether the mean over all conditions is ahead too, by more than the margin and its doubt."""
    if lead is None:
        return True
    return lead.ratio.value > 1 + margin and (lead.ratio.low is None or lead.ratio.low > 1)


def _leaders(best: pd.DataFrame) -> list[str]:
    return [str(name) for name in ordered(best["strategy"].unique())]


def _whole(rows: pd.DataFrame, spec: ComparisonSpec) -> Stratum:
    """All conditions of a model as one stratum, as `compare --by model` has it."""
    (group,) = strata(rows, spec.response, ("model",), pool=spec.pool)
    return group


def _by_mean(group: Stratum, names: set[str], spec: ComparisonSpec) -> tuple[str, ...]:
    """The best on average first, over the conditions that all of them have."""
    sign = -1 if is_higher_better(spec.response, spec.better) else 1
    grids = {name: np.nanmean(_some(group.logs[name]), axis=1) for name in names}
    every = np.isfinite(np.vstack(list(grids.values()))).all(axis=0)
    means = {n: sign * float(g[every].mean()) if every.any() else 0.0 for n, g in grids.items()}
    return tuple(str(n) for n in sorted(ordered(names), key=lambda name: means[str(name)]))


def _some(logs: np.ndarray) -> np.ndarray:
    """Conditions × blocks; a condition without any run keeps one NaN, of which no mean warns."""
    return np.where(np.isfinite(logs).any(axis=1, keepdims=True), logs, np.inf)


def _lead(group: Stratum, name: str, others: set[str], spec: ComparisonSpec) -> Lead | None:
    """Over the best of the others that has a pair with it; None without one."""
    sign = 1 if is_higher_better(spec.response, spec.better) else -1
    paired = {other: group.pairs(name, other) for other in others}
    known = {other: pairs for other, pairs in paired.items() if len(pairs.logs)}
    if not known:
        return None
    over = min(known, key=lambda other: sign * float(known[other].logs.mean()))
    pairs = known[over]
    ratio = log_interval(sign * pairs.logs)
    if not pairs.testable or pairs.unit == "condition" or len(pairs.logs) < 3:
        ratio = Interval(ratio.value, None, None, ratio.n)
    by_condition = group.ratios(name, over) ** sign
    return Lead(over, ratio, float(by_condition.min()), float(by_condition.max()))


def _places(best: pd.DataFrame) -> list[Place]:
    """Who leads where: by load, and within a load by workload where those differ."""
    return [
        place
        for kind in ordered(best["load_kind"].unique())
        for place in _places_of(best[best["load_kind"] == kind], str(kind))
    ]


def _places_of(rows: pd.DataFrame, kind: str) -> list[Place]:
    """Of one kind of load."""
    spans: list[tuple[tuple[str, ...], str, pd.DataFrame]] = []
    for load in ordered(rows["load"]):
        for names, workloads, here in _leading(rows[rows["load"] == load]):
            at = next((i for i, span in enumerate(spans) if span[:2] == (names, workloads)), None)
            if at is not None and _follows(rows, spans[at][2], load):
                spans[at] = (names, workloads, pd.concat([spans[at][2], here]))
            else:
                spans.append((names, workloads, here))
    return [_place(names, workloads, here, kind) for names, workloads, here in spans]


def _follows(rows: pd.DataFrame, before: pd.DataFrame, load: object) -> bool:
    loads = ordered(rows["load"])
    return loads.index(before["load"].max()) == loads.index(load) - 1


def _leading(here: pd.DataFrame) -> list[tuple[tuple[str, ...], str, pd.DataFrame]]:
    """Of one load: the layouts in front, with the workloads where not all agree, and their rows."""
    shared = set.intersection(*(in_front(row) for row in here.to_dict("records")))
    if shared:
        return [(tuple(str(name) for name in ordered(shared)), "", here)]
    found: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(here.to_dict("records")):
        names = tuple(str(name) for name in ordered(in_front(row)))
        found.setdefault(names, []).append(place)
    return [
        (names, ", ".join(map(str, ordered(own["workload"]))), own)
        for names, places in found.items()
        for own in [here.iloc[places]]
    ]


def _place(names: tuple[str, ...], workloads: str, here: pd.DataFrame, kind: str) -> Place:
    loads = [shown(load) for load in ordered(here["load"])]
    at = f"at {kind} {loads[0]}" + (f" to {loads[-1]}" if len(loads) > 1 else "")
    ahead = here[here["unbeaten"] == ""]
    leads = ahead["lead"].dropna()
    known = len(names) == 1 and len(leads) == len(ahead) > 0
    least, most = (float(leads.min()), float(leads.max())) if known else (None, None)
    unsettled = int((here["standing"] == "open").sum())
    ties = len(here) - len(ahead) - unsettled
    return Place(names, at, workloads, least, most, ties, unsettled, len(here))


def weakest(standings: Counter[Standing]) -> Standing:
    """The weakest standing that any condition has."""
    return min(standings, key=STANDINGS.index)
