"""What a comparison asks: within which columns, of which runs, by which rule."""

from dataclasses import dataclass, field, replace
from typing import Unpack

import pandas as pd

from analysis.data.conditions import AXES, Pooling, kept_apart, said_apart
from analysis.data.frame import require
from analysis.data.grid import keyed, unnumbered
from analysis.data.order import canonical, ordered
from analysis.data.pairs import LOAD
from analysis.data.select import RowSelection, Selection, log_of, need_levels, select
from analysis.statistics.contrast import Adjustment, Rule
from catalog.errors import BadValue, UnknownName
from orchestrator.results.quantities import Better, is_higher_better

BY = ("model", "workload", *LOAD)


@dataclass(frozen=True, slots=True)
class ComparisonSpec:
    """What is compared with what, and by which rule."""

    response: str = "output_throughput"
    reference: str | None = None
    """Every other strategy is compared with this one; the first in order when None."""
    by: tuple[str, ...] = BY
    """Columns within which strategies are compared; whatever else keeps rows apart is added."""
    pool: tuple[str, ...] = ()
    """Columns whose differences are overlooked."""
    better: Better = ""
    """Which way is better for a response that has no known direction."""
    rule: Rule = field(default_factory=Rule)
    adjust: Adjustment | None = None
    """None: Holm for one stratum, Benjamini–Hochberg for a sweep of several."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is compared after all: the runs, and the columns within which."""

    spec: ComparisonSpec
    chosen: Selection
    apart: tuple[str, ...]
    """Columns that were added since rows differ in them."""

    @property
    def notes(self) -> tuple[str, ...]:
        rows = self.chosen.frame
        what = "compared within each"
        apart = said_apart(rows, self.apart, what)
        return (*apart, *loadless_notes(rows), *unnumbered_notes(rows, self.spec))


def asked_of(
    frame: pd.DataFrame, spec: ComparisonSpec | None, **selected: Unpack[RowSelection]
) -> Question:
    """Check a question and select the runs it is asked of; keep apart what is not to be mixed."""
    spec = spec or ComparisonSpec()
    _check(spec)
    by = tuple(name for name in spec.by if name in frame or name not in LOAD)
    require(frame, [*by, "strategy", spec.response])
    factors = ["strategy", *(name for name in by if name in BY[:2])]
    chosen = select(
        frame,
        response=spec.response,
        factors=factors,
        **selected,
    )
    is_higher_better(spec.response, spec.better)
    need_levels(chosen.frame, "strategy")
    log_of(chosen.frame, spec.response)
    pooling = Pooling(pool=spec.pool)
    rows = chosen.frame.drop(columns=spec.response)
    apart = tuple(name for name in kept_apart(rows, pooling, within=by) if name not in by)
    return Question(replace(spec, by=(*by, *apart)), chosen, apart)


def loadless_notes(frame: pd.DataFrame) -> tuple[str, ...]:
    """Say how many runs name no load: they are compared as if they had one."""
    named = frame[[name for name in LOAD if name in frame]].notna().any(axis=1)
    if named.all():
        return ()
    return (
        f"{int((~named).sum())} runs name no load ({', '.join(LOAD)}): they are compared as one, "
        "which holds if all of their requests were sent at once",
    )


def unnumbered_notes(frame: pd.DataFrame, spec: ComparisonSpec) -> tuple[str, ...]:
    """Say where runs of one condition are averaged since no number tells them apart."""
    way = "never paired by the order of rows; add a column 'block'"
    if unnumbered(frame, [*AXES, *spec.by]):
        return (
            "repeated runs carry no block or replicate number: those of one condition are "
            f"averaged, {way}",
        )
    rows = keyed(frame, apart=spec.by, pool=spec.pool)
    arm = [name for name in ("model", "strategy") if name in rows]
    alike = int(rows.duplicated(subset=[*arm, "_condition", "_replicate"], keep=False).sum())
    if not alike:
        return ()
    return (
        f"{alike} runs share their condition and their block or replicate number, or have none: "
        f"those are averaged, {way} with a number for each",
    )


def reference_of(frame: pd.DataFrame, wanted: str | None) -> str:
    """The strategy the others are compared with, by any of its names."""
    names = [str(name) for name in ordered(frame["strategy"])]
    wanted = wanted if wanted is None or wanted in names else canonical(wanted)
    if wanted is None:
        return names[0]
    if wanted not in names:
        raise UnknownName("strategy", wanted, names)
    return wanted


def _check(spec: ComparisonSpec) -> None:
    rule = spec.rule
    if not 0 < rule.alpha < 0.5:
        raise BadValue("--alpha", rule.alpha, "between 0 and 0.5")
    if not 0 < rule.margin < 1:
        raise BadValue("--margin", rule.margin, "between 0 and 1, for instance 0.03 for 3 %")
    if not 0 < rule.power < 1:
        raise BadValue("--power", rule.power, "between 0 and 1")
    if "strategy" in spec.by:
        raise BadValue("--by", "strategy", "columns other than the one that is compared")
