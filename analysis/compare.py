"""Strategies against each other: ratios with intervals, adjusted tests, and four verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.contrast import (
    Adjustment,
    Rule,
    Verdict,
    adjusted,
    equivalence_p,
    runs_needed,
    sign_flip,
    smallest_p,
    verdict,
)
from analysis.intervals import Interval, log_interval
from analysis.order import canonical, ordered
from analysis.pairs import LOAD, Pairs, Stratum, strata
from analysis.place import source_of
from analysis.select import Selection, log_of, need_levels, select
from analysis.steadiness import replicate_notes
from catalog.errors import BadFile, BadValue, UnknownName

BY = ("model", "workload", *LOAD)


@dataclass(frozen=True, slots=True)
class Question:
    """What is compared with what, and by which rule."""

    response: str = "output_throughput"
    reference: str | None = None
    """Every other strategy is compared with this one; the first in order when None."""
    by: tuple[str, ...] = BY
    """Columns within which strategies are compared."""
    rule: Rule = field(default_factory=Rule)
    adjust: Adjustment | None = None
    """None: Holm for one stratum, Benjamini–Hochberg for a sweep of several."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A strategy against the reference in one stratum."""

    stratum: Stratum
    strategy: str
    reference: str
    ratio: Interval
    pairs: int
    paired_by: str
    p: float | None
    p_adjusted: float | None
    p_equivalence: float | None
    verdict: Verdict
    runs_needed: int | None
    reason: str
    """Why there is no test, or what to beware of; empty when nothing."""

    def row(self) -> dict[str, object]:
        """A flat object."""
        return {
            **dict(self.stratum.key),
            "strategy": self.strategy,
            "reference": self.reference,
            "ratio": self.ratio.value,
            "ratio_low": self.ratio.low,
            "ratio_high": self.ratio.high,
            "pairs": self.pairs,
            "paired_by": self.paired_by,
            "p": self.p,
            "p_adjusted": self.p_adjusted,
            "p_equivalence": self.p_equivalence,
            "verdict": self.verdict,
            "runs_needed": self.runs_needed,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All contrasts of one question; they are one family of tests."""

    question: Question
    adjust: Adjustment
    contrasts: tuple[Contrast, ...]
    provenance: str
    notes: tuple[str, ...]

    def rows(self) -> list[dict[str, object]]:
        added = {
            "response": self.question.response,
            "adjustment": self.adjust,
            "margin": self.question.rule.margin,
            "alpha": self.question.rule.alpha,
            "provenance": self.provenance,
        }
        return [contrast.row() | added for contrast in self.contrasts]


def higher_is_better(response: str) -> bool:
    """Throughputs and rates should be high; latencies, durations and failures low."""
    return not response.endswith(("_ms", "_s", "duration", "failed", "_usd"))


def compare(
    frame: pd.DataFrame,
    question: Question | None = None,
    *,
    provenance: str | None = None,
    every_verdict: bool = False,
) -> Comparison:
    """Compare strategies within each stratum and adjust over all of them together."""
    question = question or Question()
    chosen = chosen_rows(frame, question, provenance=provenance, every_verdict=every_verdict)
    reference = _reference(chosen.frame, question.reference)
    groups = list(strata(chosen.frame, question.response, columns(frame, question)))
    adjust = question.adjust or ("holm" if len(groups) == 1 else "bh")
    contrasts = _contrasts(groups, reference, question, adjust)
    if not contrasts:
        problem = f"no stratum holds both {reference!r} and another strategy"
        raise BadFile(source_of(chosen.frame), problem)
    notes = (
        *chosen.notes,
        *confounds(chosen.frame, reference),
        *replicate_notes(chosen.frame, question.response),
    )
    return Comparison(question, adjust, contrasts, chosen.provenance, notes)


def columns(frame: pd.DataFrame, question: Question) -> tuple[str, ...]:
    """Columns to compare within: those asked for, of the two kinds of load the one there is."""
    return tuple(name for name in question.by if name in frame or name not in LOAD)


def chosen_rows(
    frame: pd.DataFrame, question: Question, *, provenance: str | None, every_verdict: bool
) -> Selection:
    """Check a question and select the runs it is asked of."""
    _check(question)
    factors = ["strategy", *(name for name in columns(frame, question) if name not in LOAD)]
    chosen = select(
        frame,
        response=question.response,
        factors=factors,
        provenance=provenance,
        every_verdict=every_verdict,
    )
    need_levels(chosen.frame, "strategy")
    log_of(chosen.frame, question.response)
    return chosen


@dataclass(frozen=True, slots=True)
class _Raw:
    stratum: Stratum
    strategy: str
    pairs: Pairs


def _contrasts(
    groups: Sequence[Stratum], reference: str, question: Question, adjust: Adjustment
) -> tuple[Contrast, ...]:
    raw = [found for group in groups for found in _raw(group, reference)]
    rule = Rule(question.rule.alpha, question.rule.margin, adjust, question.rule.power)
    fewest = rule.fewest_pairs(len(raw))
    tested = [
        sign_flip(r.pairs.logs) if len(r.pairs.logs) >= fewest and not r.pairs.copies else None
        for r in raw
    ]
    equal = [None if r.pairs.copies else equivalence_p(r.pairs.logs, rule.log_margin) for r in raw]
    every = zip(raw, tested, adjusted(tested, adjust), adjusted(equal, adjust), strict=True)
    return tuple(
        _contrast(
            r, reference, (p, p_adjusted, p_equal), rule=rule, question=question, family=len(raw)
        )
        for r, p, p_adjusted, p_equal in every
    )


def _raw(group: Stratum, reference: str) -> list[_Raw]:
    if reference not in group.logs:
        return []
    others = [str(name) for name in ordered(group.logs) if name != reference]
    found = [_Raw(group, name, group.pairs(name, reference)) for name in others]
    return [each for each in found if len(each.pairs.logs)]


def _contrast(
    raw: _Raw,
    reference: str,
    p_values: tuple[float | None, float | None, float | None],
    *,
    rule: Rule,
    question: Question,
    family: int,
) -> Contrast:
    logs = raw.pairs.logs
    p, p_adjusted, p_equal = p_values
    ratio = log_interval(logs, level=1 - rule.alpha)
    better_up = higher_is_better(question.response)
    said = verdict(ratio, p_adjusted, p_equal, alpha=rule.alpha, higher_is_better=better_up)
    open_question = said == "undecided" and not raw.pairs.copies
    needed = runs_needed(logs, rule, family) if open_question else None
    return Contrast(
        stratum=raw.stratum,
        strategy=raw.strategy,
        reference=reference,
        ratio=ratio,
        pairs=len(logs),
        paired_by=raw.pairs.unit,
        p=p,
        p_adjusted=p_adjusted,
        p_equivalence=p_equal,
        verdict=said,
        runs_needed=needed and max(needed, len(logs) + 1),
        reason=_reason(raw.pairs, rule, family, tested=p is not None),
    )


def _reason(found: Pairs, rule: Rule, family: int, *, tested: bool) -> str:
    if found.copies:
        return "not tested: the replicates repeat one number, which is no evidence of spread"
    pairs = len(found.logs)
    level, floor = rule.hardest_level(family), smallest_p(pairs)
    if tested and found.unit == "condition":
        return "pairs are conditions, not replicates: it holds across these, luck of a run included"
    if tested:
        return ""
    return (
        f"not tested: the smallest p of {pairs} pair{'s' * (pairs != 1)} is {floor:.3g}, above "
        f"{level:.3g}; {rule.fewest_pairs(family)} are needed"
    )


def _reference(frame: pd.DataFrame, wanted: str | None) -> str:
    names = [str(name) for name in ordered(frame["strategy"])]
    wanted = wanted if wanted is None or wanted in names else canonical(wanted)
    if wanted is None:
        return names[0]
    if wanted not in names:
        raise UnknownName("strategy", wanted, names)
    return wanted


def confounds(frame: pd.DataFrame, reference: str) -> tuple[str, ...]:
    """Say where a strategy ran on other hardware or software than the reference."""
    names = [str(name) for name in ordered(frame["strategy"])]
    return tuple(
        f"{name} ran with {column} {_used(frame, name, column)}, {reference} with "
        f"{_used(frame, reference, column)}: their ratio holds both differences"
        for column in ("gpu_type", "engine", "technique")
        if column in frame
        for name in names
        if _used(frame, name, column) != _used(frame, reference, column)
    )


def _used(frame: pd.DataFrame, strategy: str, column: str) -> str:
    return ", ".join(sorted(set(frame.loc[frame["strategy"] == strategy, column].astype(str))))


def _check(question: Question) -> None:
    rule = question.rule
    if not 0 < rule.alpha < 0.5:
        raise BadValue("--alpha", rule.alpha, "between 0 and 0.5")
    if not rule.margin > 0:
        raise BadValue("--margin", rule.margin, "above 0, for instance 0.03 for 3 %")
    if not 0 < rule.power < 1:
        raise BadValue("--power", rule.power, "between 0 and 1")
    if "strategy" in question.by:
        raise BadValue("--by", "strategy", "columns other than the one that is compared")
