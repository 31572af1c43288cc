"""One answer a model from a run table: which layout, by how much, how sure, what next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from analysis.answer.choice import Choice, choice_of
from analysis.answer.doubts import absent_from, limits_missed, ratios_off
from analysis.answer.firsts import PER_GPU, firsts
from analysis.answer.words import headline, is_sure, sureness
from analysis.data.arms import (
    by_provenance,
    models_apart,
    provenance_of,
    usable_rows,
    with_arms,
)
from analysis.data.conditions import NOTHING_SAID, SEPARATOR, Pooling
from analysis.data.frame import require
from analysis.data.order import ordered
from analysis.data.reached import reached
from analysis.question import ComparisonSpec, reference_of
from analysis.statistics.confounding import confound_notes, confounded
from analysis.statistics.contrast import planned_runs
from analysis.winners import beside, winners
from orchestrator.results.given import given_as
from orchestrator.results.record import MEASURED
from workloads.figures.capacity import statements

FOLLOWING = ("output_throughput", "total_token_throughput", "request_throughput")
"""What an open loop offers, whatever serves it, until a server cannot keep up."""
NEEDED = ("model", "strategy", "workload", "output_throughput")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the runs of one model and one provenance say."""

    provenance: str
    model: str
    headline: str
    """The choice, its GPUs, its lead; or what one layout carries; or why there is none."""
    sure: str
    """How sure; empty where nothing was compared."""
    doubts: tuple[str, ...] = ()
    """What to know before it is believed."""
    choice: Choice | None = None
    """None where one layout was run, or no run is valid."""

    @property
    def sentence(self) -> str:
        """The headline with a full stop; a layout's name keeps its own first letter."""
        names = self.choice.layouts if self.choice else ()
        named = any(self.headline.startswith(name) for name in names)
        return f"{self.headline if named else self.headline[:1].upper() + self.headline[1:]}."

    @property
    def beneath(self) -> tuple[str, ...]:
        """How sure it is, and what is in doubt."""
        return tuple(filter(None, (self.sure, *self.doubts)))

    @property
    def lines(self) -> list[str]:
        """One or two lines: the headline, and how sure it is with what is in doubt."""
        return said([self])


def answers(
    frame: pd.DataFrame, spec: ComparisonSpec | None = None, pooling: Pooling = NOTHING_SAID
) -> list[Answer]:
    """Answer for every provenance and model of a run table, all verdicts included in it.

    Raises BadFile where columns are missing that an answer needs.
    """
    require(frame, NEEDED)
    found = []
    for name, rows in by_provenance(with_arms(frame)):
        part, _ = models_apart(rows, pooling)
        found += _of_provenance(part, name, spec or ComparisonSpec())
    return found


def _of_provenance(part: pd.DataFrame, name: str, spec: ComparisonSpec) -> list[Answer]:
    usable, _ = reached(usable_rows(part))
    usable = usable[usable[spec.response].notna()]
    if usable.empty:
        reasons = _left_out(part)
        return [
            Answer(name, _models(part), f"no answer, none of {len(part)} runs is valid", reasons)
        ]
    known = spec.reference if spec.reference in set(usable["strategy"]) else None
    own = ComparisonSpec(spec.response, known, spec.by, spec.pool, spec.better, spec.rule)
    best = winners(usable, own)
    made = answers_of(usable, own, best, every=part)
    return [_with(each, _left_out(part[part["model"] == each.model])) for each in made]


def answers_of(
    usable: pd.DataFrame,
    spec: ComparisonSpec,
    best: pd.DataFrame,
    every: pd.DataFrame | None = None,
) -> list[Answer]:
    """Answer for the usable rows of one provenance, of which `best` holds the winners.

    `every` are the rows of all verdicts, where they are at hand: what one layout carries is said
    with the loads at which no run was valid.
    """
    every = usable if every is None else every
    per_gpu = firsts(usable, spec, PER_GPU) if spec.response == "output_throughput" else {}
    return [
        _answer(
            usable[usable["model"] == model],
            best[best["model"] == model],
            spec,
            per_gpu,
            alone_in=every[every["model"] == model],
        )
        for model in ordered(usable["model"])
        if (best["model"] == model).any()  # else no run of it has any throughput
    ]


def _answer(
    rows: pd.DataFrame,
    best: pd.DataFrame,
    spec: ComparisonSpec,
    per_gpu: Mapping[str, tuple[str, str]],
    *,
    alone_in: pd.DataFrame,
) -> Answer:
    model, provenance = str(rows["model"].iloc[0]), provenance_of(rows)
    if rows["strategy"].nunique() < 2:
        return Answer(provenance, model, alone(alone_in), "")
    absent, held = absent_from(rows, alone_in), beside(best)
    if held.empty:
        none = "no answer, no two strategies were run under one condition"
        return Answer(provenance, model, none, "", tuple(absent))
    choice = choice_of(rows, held, spec)
    doubts = list(confound_notes(confounded(rows, reference_of(rows, None), ("model",))))
    doubts = [text for text in doubts if "num_gpus" not in text]  # the headline has them
    agreed = choice.kind in ("use", "ahead") and per_gpu.get(model, ("",))[0] == choice.layouts[0]
    doubts += [*limits_missed(rows), *ratios_off(rows)]
    if any(SEPARATOR in str(name) for name in rows["strategy"].unique()):
        doubts.insert(0, "techniques differ in quality too, which is no part of this")
    if spec.response in FOLLOWING and _is_open(rows):
        doubts.insert(0, "under a request rate throughput follows the arrivals: compare latencies")
    if model in per_gpu and not agreed:
        doubts.insert(0, "per GPU {} is first in {}".format(*per_gpu[model]))
    doubts = [*absent, *doubts]
    return Answer(
        provenance,
        model,
        headline(choice, rows, spec, provenance),
        sureness(choice, spec, provenance),
        tuple(doubts),
        choice,
    )


def said(found: Sequence[Answer]) -> list[str]:
    """The answers in lines; what holds of all of them alike stands once, at the end."""
    alike = [text for text in found[0].beneath if all(text in each.beneath for each in found)]
    several = len({each.provenance for each in found}) > 1
    lines = []
    for each in found:
        of = f"{each.model} ({each.provenance})" if several else each.model
        lines.append(f"{of}: {each.headline}")
        if own := [text for text in each.beneath if text not in alike]:
            lines.append("; ".join(own))
    return [*lines, "; ".join(alike)] if alike else lines


def _is_open(rows: pd.DataFrame) -> bool:
    return "request_rate" in rows and bool(rows["request_rate"].notna().any())


def alone(rows: pd.DataFrame) -> str:
    """What a layout carries that was run alone: its capacity, or its one load."""
    kept = rows.astype(object).where(rows.notna(), None).to_dict("records")
    told = [{str(name): value for name, value in row.items()} for row in kept]
    if found := statements(told):
        return "; ".join(found)
    usable = usable_rows(rows)
    if usable.empty:
        return f"not known, none of {len(rows)} runs is valid"
    rate = usable["output_throughput"].mean()
    return f"{only(rows)}, at one load: {rate:,.1f} tokens/s; more loads show its capacity"


def only(rows: pd.DataFrame) -> str:
    """Which strategy has nothing beside it, and whether others were tried."""
    name = usable_rows(rows)["strategy"].iloc[0]
    tried = rows["strategy"].nunique() > 1
    return f"only {name} {'has valid runs' if tried else 'was run'}"


def next_command(found: Sequence[Answer], results: Path, *, invalid: int = 0) -> str:
    """The command that tells more: further replicates where the runs are too few, else the page."""
    if (packed := given_as(results)) != results:
        return f"moeserve report {packed}"  # nothing is run into a packed study
    study = results / "experiment.json"
    measured = [each for each in found if each.provenance == MEASURED and study.is_file()]
    if invalid and study.is_file():
        return f"moeserve run {study} -o {results} --redo invalid"
    open_ones = [e.choice for e in measured if e.choice is not None and not is_sure(e.choice)]
    more = planned_runs(ComparisonSpec().rule)
    if any(choice.pairs < more for choice in open_ones):
        return f"moeserve run {study} -o {results} --num-runs {more}"
    if open_ones:
        return f"moeserve compare {results}"
    return f"moeserve report {results}"


def _models(part: pd.DataFrame) -> str:
    return ", ".join(str(name) for name in ordered(part["model"]))


def _left_out(part: pd.DataFrame) -> str:
    """How many runs do not count, and why."""
    if "verdict" not in part:
        return ""
    out = part[~part["verdict"].isin(["valid", ""])]
    if out.empty:
        return ""
    why = out["verdict_reasons"] if "verdict_reasons" in out else out["verdict"]
    reasons = why.astype(str).str.split(";").explode().str.strip().replace("", "failed")
    counted = [f"{name} {count}" for name, count in reasons.value_counts().items()]
    return f"{len(out)} of {len(part)} runs left out: {', '.join(counted[:3])}"


def _with(answer: Answer, doubt: str) -> Answer:
    if not doubt:
        return answer
    return replace(answer, doubts=(*answer.doubts, doubt))
