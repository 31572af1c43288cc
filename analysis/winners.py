"""The best strategy of each condition, and whether the corrected contrasts show that it is."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.compare import Decision, adjustment_of, decisions
from analysis.data.frame import require
from analysis.data.load import with_load
from analysis.data.order import ordered
from analysis.data.pairs import Stratum, strata
from analysis.question import BY, ComparisonSpec, reference_of
from orchestrator.results.quantities import is_higher_better
from orchestrator.results.record import SIMULATED
from perfmodel.known_error import TIE, tied

CONDITION = ("model", "workload", "load_kind", "load")
COLUMNS = (
    *CONDITION, "strategy", "runner_up", "lead", "settled", "tied_with", "standing", "equal",
    "unbeaten", "pairs", "untested",
)  # fmt: skip
Untested = Literal["", "unpaired", "copies", "launch", "few"]
"""Why nothing is tested: no block holds two layouts, the replicates repeat one number, the runs of
a layout share one server launch, or there are too few of them; empty where something is."""
Decided = Mapping[tuple[int, str, str], Decision]
Standing = Literal["open", "near", "untested", "equal", "shown"]
STANDINGS: tuple[Standing, ...] = ("open", "near", "untested", "equal", "shown")
"""How a leader stands to another, the weakest claim first: ahead by more than the margin, which a
test leaves open; within the margin, which none shows; ahead in runs that allow no test; equal
within the margin; shown to be better, with a mean lead beyond it."""


@dataclass(frozen=True, slots=True)
class Judge:
    """By what a leader is held against the others."""

    decided: Decided
    reference: str
    margin: float
    """Relative lead up to which two count as equal."""
    sign: int
    """−1 where larger is better."""


def winners(frame: pd.DataFrame, spec: ComparisonSpec | None = None) -> pd.DataFrame:
    """Best strategy of each model × workload × load, its lead, and whether the runs settle it.

    Columns: model, workload, load_kind, load, strategy, runner_up, lead (ratio to the runner-up,
    above 1), settled: True where it is shown to be better than every other strategy, with a mean
    lead beyond the margin, None where that could not be tested (too few replicates, or copies of
    one run); tied_with: of simulated runs alone, whose throughput is a model's, the strategies too
    near for the model to tell; standing: the weakest of its standings to the others; equal and
    unbeaten: the others within the margin, and those that it is not ahead of for sure; pairs: the
    fewest that a standing rests on; untested: why no standing of it could be tested.

    Shown means by the verdicts of `compare`, whose family of contrasts with the reference is the
    same; two strategies that are not the reference are held to the family of all pairs. A lead
    inside the margin never counts as one.
    """
    spec = spec or ComparisonSpec()
    frame = with_load(frame)
    require(frame, [*CONDITION, "strategy", spec.response])
    # Strata as `compare` has them, so that its tests are these.
    by = tuple(dict.fromkeys((*CONDITION, *(name for name in BY if name in frame))))
    groups = list(strata(frame, spec.response, by, pool=spec.pool))
    reference, adjust = reference_of(frame, spec.reference), adjustment_of(spec, groups)
    spec = replace(spec, by=by)
    decided = {
        (id(each.stratum), each.strategy, each.reference): each
        for family in (None, reference)
        for each in decisions(groups, family, spec, adjust)
    }
    simulated = _all_simulated(frame)
    modelled = spec.response.startswith("output_throughput") and simulated
    sign = -1 if is_higher_better(spec.response, spec.better) else 1
    judge = Judge(decided, reference, margin_of(spec, simulated=simulated), sign)
    rows = [
        _winner(group, means, judge) | {"tied_with": _tied_with(means) if modelled else ""}
        for group in groups
        if (means := _means(group))
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def margin_of(spec: ComparisonSpec, *, simulated: bool) -> float:
    """What counts as equal: of simulated runs at least what their model cannot tell apart."""
    return max(spec.rule.margin, TIE - 1) if simulated else spec.rule.margin


def in_front(row: Mapping[Hashable, Any], column: str = "unbeaten") -> set[str]:
    """The leader of a condition and those in a column beside it, as `unbeaten` or `equal`."""
    return {str(row["strategy"]), *filter(None, str(row[column] or "").split(","))}


def beside(best: pd.DataFrame) -> pd.DataFrame:
    """The conditions that more than one strategy ran under: who ran alone has won nothing."""
    return best[best["runner_up"].notna()]


def _means(group: Stratum) -> dict[str, float]:
    """Mean logarithm of each strategy that has any: where nothing is above zero nothing has won."""
    known = {name: logs[~np.isnan(logs)] for name, logs in group.logs.items()}
    return {name: float(np.mean(logs)) for name, logs in known.items() if len(logs)}


def _winner(group: Stratum, means: Mapping[str, float], judge: Judge) -> dict[str, object]:
    sign = judge.sign
    best, *others = sorted((str(n) for n in ordered(means)), key=lambda name: sign * means[name])
    row = {name: level for name, level in group.key if name in CONDITION}
    row |= {"strategy": best, "runner_up": others[0] if others else None, "lead": None}
    if others and len(logs := group.pairs(best, others[0]).logs):
        row["lead"] = float(np.exp(-sign * logs.mean()))
    standings = {name: _standing(group, best, name, judge) for name in others}
    found = [_decision(group, best, name, judge) for name in others]
    tested = [each is not None and each.p is not None for each in found]
    return row | {
        "settled": _settled(list(standings.values()), tested),
        "standing": min(standings.values(), key=STANDINGS.index, default=None),
        "equal": ",".join(name for name, how in standings.items() if how in ("equal", "near")),
        "unbeaten": ",".join(n for n, how in standings.items() if how in ("equal", "near", "open")),
        "untested": "" if any(tested) or not found else _untested(found[0]),
        "pairs": min((0 if each is None else len(each.pairs.logs) for each in found), default=0),
    }


def _untested(found: Decision | None) -> Untested:
    """Of the leader and the second."""
    if found is None:
        return "unpaired"
    if found.pairs.copies:
        return "copies"
    return "launch" if found.pairs.unit == "launch" else "few"


def _all_simulated(frame: pd.DataFrame) -> bool:
    return "provenance" in frame and bool((frame["provenance"] == SIMULATED).all())


def _tied_with(means: Mapping[str, float]) -> str:
    """The strategies whose mean throughput is too near to the best one's."""
    best = max(means, key=lambda name: means[name])
    near = [n for n in means if n != best and tied(math.exp(means[n]), math.exp(means[best]))]
    return ",".join(str(name) for name in ordered(near))


def _standing(group: Stratum, best: str, other: str, judge: Judge) -> Standing:
    """How the leader stands to another; what never ran beside it is open, whatever its mean."""
    found = _decision(group, best, other, judge)
    if found is None:
        return "open"
    lead = float(np.exp(-judge.sign * group.pairs(best, other).logs.mean()))
    near = lead <= 1 + judge.margin
    if found.verdict == "equivalent":
        return "equal"
    if found.p is None:
        return "near" if near else "untested"
    won = found.verdict == ("better" if found.strategy == best else "worse")
    if won:
        return "near" if near else "shown"
    return "near" if near else "open"


def _decision(group: Stratum, best: str, other: str, judge: Judge) -> Decision | None:
    for names in ((best, other), (other, best)):
        found = judge.decided.get((id(group), *names))
        if found is None:
            continue
        if found.reference == judge.reference or judge.reference not in names:
            return found
    return None


def _settled(standings: Sequence[Standing], tested: Sequence[bool]) -> bool | None:
    if not standings or not any(tested):
        return None
    known = [how == "shown" for how, test in zip(standings, tested, strict=True) if test]
    return False if False in known else None if not all(tested) else True
