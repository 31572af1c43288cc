"""Strategies against each other: ratios with intervals, adjusted tests, and four verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from shlex import quote
from typing import Unpack

import numpy as np
import pandas as pd

from analysis.data.conditions import levels
from analysis.data.order import ordered
from analysis.data.pairs import Pairs, Stratum, strata
from analysis.data.select import RowSelection
from analysis.data.source_location import source_of
from analysis.data.units import SLIP
from analysis.question import BY, ComparisonSpec, asked_of, reference_of
from analysis.statistics.confounding import confound_notes, confounded
from analysis.statistics.contrast import (
    Adjustment,
    ContrastVerdict,
    Rule,
    adjusted,
    difference_p,
    equivalence_p,
    excludes_margin,
    runs_needed,
    sign_flip,
    verdict,
)
from analysis.statistics.contrast_reason import Evidence, basis_of, reason_of
from analysis.statistics.intervals import Interval, log_interval
from analysis.statistics.replication import launch_notes
from analysis.statistics.steadiness import replicate_notes
from catalog.errors import BadFile
from orchestrator.results.quantities import is_higher_better

__all__ = ["BY", "Comparison", "ComparisonSpec", "Contrast", "compare"]


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
    """Of the paired t-test, whose interval `ratio` has."""
    p_adjusted: float | None
    p_sign_flip: float | None
    """Of the exact sign-flip test, which takes nothing as normal; None where p is."""
    p_equivalence: float | None
    verdict: ContrastVerdict
    runs_needed: int | None
    reason: str
    """Why there is no test, or what to beware of; empty when nothing."""
    basis: str = ""
    """By what the verdict was reached, `t-interval` or `exact test`; empty without one."""
    confounded_by: tuple[str, ...] = ()
    """Columns in which the two differ besides the strategy: the ratio holds those, too."""

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
            "p_sign_flip": self.p_sign_flip,
            "p_equivalence": self.p_equivalence,
            "verdict": self.verdict,
            "runs_needed": self.runs_needed,
            "reason": self.reason,
            "basis": self.basis,
            "confounded_by": ", ".join(self.confounded_by),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All contrasts of one question; they are one family of tests."""

    spec: ComparisonSpec
    adjust: Adjustment
    contrasts: tuple[Contrast, ...]
    provenance: str
    notes: tuple[str, ...]

    def rows(self) -> list[dict[str, object]]:
        added = {
            "response": self.spec.response,
            "adjustment": self.adjust,
            "margin": self.spec.rule.margin,
            "alpha": self.spec.rule.alpha,
            "provenance": self.provenance,
        }
        return [contrast.row() | added for contrast in self.contrasts]

    def frame(self) -> pd.DataFrame:
        """One row a contrast."""
        return pd.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False)


def compare(
    frame: pd.DataFrame,
    spec: ComparisonSpec | None = None,
    **selected: Unpack[RowSelection],
) -> Comparison:
    """Compare strategies within each stratum and adjust over all of them together."""
    question = asked_of(frame, spec, **selected)
    chosen, spec = question.chosen, question.spec
    reference = reference_of(chosen.frame, spec.reference)
    groups = list(strata(chosen.frame, spec.response, spec.by, pool=spec.pool))
    adjust = adjustment_of(spec, groups)
    rule, family = replace(spec.rule, adjust=adjust), decisions(groups, reference, spec, adjust)
    contrasts = [_contrast(each, rule, len(family)) for each in family]
    if not contrasts:
        raise _nothing_paired(chosen.frame, reference, question.apart)
    beside = confounded(chosen.frame, reference, spec.by)
    notes = (
        *chosen.notes,
        *question.notes,
        *left_alone(groups, reference),
        *unpaired(groups, reference),
        *far_apart(contrasts),
        *confound_notes(beside),
        *launch_notes(chosen.frame, (*spec.by, *spec.pool)),
        *replicate_notes(chosen.frame, spec.response, (*spec.by, *spec.pool)),
    )
    named = tuple(replace(c, confounded_by=beside.of(c.strategy, c.stratum.key)) for c in contrasts)
    return Comparison(spec, adjust, named, chosen.provenance, notes)


def left_alone(groups: Sequence[Stratum], reference: str) -> tuple[str, ...]:
    """Name the strata that hold nothing to compare."""
    alone = [g for g in groups if reference not in g.logs or len(g.logs) < 2]
    if not alone:
        return ()
    names = "; ".join(f"{g.name}: only {', '.join(g.logs)}" for g in alone[:3])
    more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
    return (f"left out, nothing to compare with {reference}: {names}{more}",)


def unpaired(groups: Sequence[Stratum], reference: str) -> tuple[str, ...]:
    """Count the runs of each strategy and of the reference that have no partner."""
    lone: dict[str, np.ndarray] = {}
    for group in groups:
        for name, _ in _compared(group, reference):
            there = [np.isfinite(group.logs[arm]) for arm in (name, reference)]
            counts = [(there[0] & ~there[1]).sum(), (there[1] & ~there[0]).sum()]
            lone[name] = lone.get(name, 0) + np.array(counts)
    told = {
        name: " and ".join(
            f"{count} of {arm}" for arm, count in zip((name, reference), both, strict=True) if count
        )
        for name, both in lone.items()
    }
    return tuple(
        f"{name} against {reference}: runs that are in no ratio, since the other has none of their "
        f"condition and block: {text}"
        for name, text in told.items()
        if text
    )


def far_apart(contrasts: Sequence[Contrast]) -> tuple[str, ...]:
    """Ask for the unit where one arm is so many times the other as a slip of units would be."""
    far = [c for c in contrasts if not 1 / SLIP < c.ratio.value < SLIP]
    if not far:
        return ()
    return (
        f"{far[0].strategy} has {far[0].ratio.value:.3g} times what {far[0].reference} has: "
        "are both in one unit?",
    )


def _nothing_paired(frame: pd.DataFrame, reference: str, apart: Sequence[str]) -> BadFile:
    there = {str(name) for name in frame["strategy"]} - {reference}
    problem = f"no stratum holds runs of {reference!r} and of {', '.join(sorted(there))} to pair"
    if apart:
        listed = "; ".join(f"{name} ({levels(frame, name)})" for name in apart)
        problem += f": they differ in {listed}; --pool {quote(apart[0])} overlooks that"
    else:
        problem += ": no block holds both under one load, and runs of different blocks make no pair"
    return BadFile(source_of(frame), problem)


@dataclass(frozen=True, slots=True)
class Decision:
    """A contrast of a family: its interval, its test, and the verdict that both give."""

    stratum: Stratum
    strategy: str
    reference: str
    pairs: Pairs
    ratio: Interval
    p: float | None
    """That the two are equal; None where it is not tested."""
    p_adjusted: float | None
    p_equivalence: float | None
    """That they differ by more than the margin, adjusted."""
    verdict: ContrastVerdict


def decisions(
    groups: Sequence[Stratum], reference: str | None, spec: ComparisonSpec, adjust: Adjustment
) -> list[Decision]:
    """Decide on all contrasts with the reference as one family, without one on all pairs."""
    paired = [
        (group, *names, pairs)
        for group in groups
        for names in _compared(group, reference)
        for pairs in [group.pairs(*names)]
        if len(pairs.logs)
    ]
    rule = replace(spec.rule, adjust=adjust)
    logs = [pairs.logs if pairs.testable else pairs.logs[:0] for *_, pairs in paired]
    tested = [difference_p(each) for each in logs]
    equal = adjusted([equivalence_p(each, rule.log_margin) for each in logs], adjust)
    higher = is_higher_better(spec.response, spec.better)
    found = []
    every = zip(paired, tested, adjusted(tested, adjust), equal, strict=True)
    for (group, strategy, against, pairs), p, p_adjusted, p_equal in every:
        ratio = log_interval(pairs.logs, level=1 - rule.alpha)
        outcome = verdict(ratio, p_adjusted, p_equal, alpha=rule.alpha, higher_is_better=higher)
        found.append(
            Decision(group, strategy, against, pairs, ratio, p, p_adjusted, p_equal, outcome)
        )
    return found


def adjustment_of(spec: ComparisonSpec, groups: Sequence[Stratum]) -> Adjustment:
    """The correction asked for, or the usual one for so many strata."""
    return spec.adjust or ("holm" if len(groups) == 1 else "bh")


def _compared(group: Stratum, reference: str | None) -> list[tuple[str, str]]:
    names = [str(name) for name in ordered(group.logs)]
    if reference is None:
        return [(later, first) for first, later in combinations(names, 2)]
    return [(name, reference) for name in names if name != reference and reference in names]


def _contrast(found: Decision, rule: Rule, family: int) -> Contrast:
    logs = found.pairs.logs
    beyond = found.p is not None and excludes_margin(found.ratio, rule)
    settled = beyond or found.verdict != "undecided"
    open_question = not (settled or found.pairs.copies)
    # The spread of conditions of one launch says nothing of the spread of launches.
    measured = logs[:0] if found.pairs.one_launch else logs
    needed = runs_needed(measured, rule, family) if open_question else None
    exact = None if found.p is None else sign_flip(logs)
    evidence = Evidence(found.pairs, found.ratio, found.p, exact, found.verdict)
    return Contrast(
        stratum=found.stratum,
        strategy=found.strategy,
        reference=found.reference,
        ratio=found.ratio,
        pairs=len(logs),
        paired_by=found.pairs.unit,
        p=found.p,
        p_adjusted=found.p_adjusted,
        p_sign_flip=exact,
        p_equivalence=found.p_equivalence,
        verdict=found.verdict,
        runs_needed=needed and max(needed, len(measured) + 1),
        reason=reason_of(evidence, rule, family),
        basis=basis_of(evidence, rule, family),
    )
