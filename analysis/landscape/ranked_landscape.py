"""A landscape with its choice: rows to print, and what to say about them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.data.conditions import levels
from analysis.data.reached import not_reached
from analysis.landscape.canonical import PLACE, in_canonical_order
from analysis.landscape.constraint import Constraint, limited_columns, parse_constraints, with_unit
from analysis.landscape.naming import labels_of, name_of, plain
from analysis.landscape.objective import Objective
from analysis.landscape.ranking import Criteria, Ranking, RankingMethod, UnknownPolicy, rank_rows
from analysis.landscape.read import counts, numbers, resolved_objective, verdicts
from analysis.landscape.replicates import PARTLY_KNOWN, REPLICATES, undecided
from catalog.errors import BadValue
from orchestrator.results.record import SIMULATED, ColumnValue
from perfmodel.known_error import TIE

GIVEN = ("model", "workload", "engine")
"""What a choice is mostly made for, not among."""
MOST_TIES = 3


@dataclass(frozen=True, slots=True)
class RankedLandscape:
    """The rows of a landscape, ranked."""

    frame: pd.DataFrame
    criteria: Criteria
    choice: Ranking
    labels: tuple[str, ...]
    """Columns that describe a row."""
    name_columns: tuple[str, ...]
    """Those of them that tell the rows apart."""
    binary: Ranking | None = None
    """The ranking with decimal sizes read as binary ones; None where no limit is open to that."""

    @property
    def chosen(self) -> int | None:
        """Row of the choice; None when no row is feasible."""
        return self.choice.chosen

    def rows(self, top: int | None = None) -> list[dict[str, ColumnValue]]:
        """All rows, or the first ones: ranked first, then refused by their names."""
        ranks = self.choice.ranks
        order = np.argsort(np.where(ranks > 0, ranks, len(ranks) + 1), kind="stable")[:top]
        kept = self.frame.drop(columns=[name for name in PLACE if name in self.frame]).iloc[order]
        columns = {str(name): plain(kept[name]) for name in kept}
        columns["rank"] = [int(rank) or None for rank in ranks[order]]
        columns["rejected_because"] = [self.choice.reasons[row] for row in order]
        columns["pareto"] = [bool(flag) for flag in self.choice.pareto[order]]
        names = list(columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def name(self, row: int) -> str:
        """The labels that tell rows of this landscape apart."""
        return name_of(self.frame, row, self.name_columns)

    @property
    def infeasible(self) -> str:
        """One line: nothing fits, and the nearest limits under which something does."""
        if all(verdicts(self.frame)):
            return f"none of {len(self.frame)} rows counts; the first: {self.choice.reasons[0]}"
        wanted = ", ".join(limit.text for limit in self.criteria.constraints) or "known objectives"
        ways = [
            f"{' and '.join(each.limits)} ({each.excess:.0%} off) gives {self.name(each.row)}"
            for each in self.choice.relaxations
        ]
        nearest = f"; nearest: {'; or '.join(ways)}" if ways else "; no limit can be loosened to it"
        return f"no row of {len(self.frame)} meets {wanted}{nearest}"

    @property
    def notes(self) -> tuple[str, ...]:
        notes = [] if self.chosen is None else self._of_the_choice(self.chosen)
        if self.binary is not None:
            notes.append(self._other_reading(self.binary))
        refused = sum("unknown" in reason for reason in self.choice.reasons)
        if refused:
            rows = "1 row" if refused == 1 else f"{refused} rows"
            notes.append(f"{rows} refused for a value that is unknown, never taken as 0")
        if self.criteria.unknown == "keep":
            notes.append("rows with unknown values are kept: their limits are not shown to hold")
        counted = self.frame[counts(self.frame)]
        given = [name for name in GIVEN if name in counted and counted[name].nunique() > 1]
        notes.extend(
            f"the choice is among several values of {name} ({levels(counted, name)}): "
            f"--where {name}=VALUE takes one"
            for name in given
        )
        return tuple(notes)

    def _of_the_choice(self, chosen: int) -> list[str]:
        how = "; ".join(objective.text for objective in self.criteria.objectives)
        row = self.frame.iloc[[chosen]]
        runs = row[REPLICATES].iloc[0] if REPLICATES in row else 0
        mean = f"mean of {runs:g} runs; " if runs > 1 else "one run; " if runs else ""
        notes = [f"choice: {self.name(chosen)} ({mean}{how}; {self.criteria.how})"]
        ties = self._ties(chosen)
        if ties:
            named = [self.name(row) for row in ties[:MOST_TIES]]
            more = [f"{len(ties) - MOST_TIES} more"] if len(ties) > MOST_TIES else []
            rule = "more room under the limits, then by name"
            notes.append(f"tied with {' and '.join([*named, *more])}: chosen by {rule}")
        if alike := self._told_apart_by_no_model(chosen):
            names = " and ".join(alike[:MOST_TIES])
            rest = f" and {len(alike) - MOST_TIES} more" if len(alike) > MOST_TIES else ""
            notes.append(
                f"the model cannot tell it from {names}{rest}: estimates within "
                f"{100 * (TIE - 1):.2g} % are ties; measure these"
            )
        partly = str(row[PARTLY_KNOWN].iloc[0]).split("; ") if PARTLY_KNOWN in row else []
        notes.extend(
            f"the choice has {each} runs only"
            for each in partly
            if each.rpartition(" in ")[0] in self.criteria.columns
        )
        if "derived" in row and row["derived"].iloc[0]:
            notes.append(f"the choice is not measured, but {row['derived'].iloc[0]}")
        if "max_concurrency" in row and not_reached(row).any():
            notes.append("the choice's max_concurrency was not reached: fewer were in flight")
        return notes

    def _told_apart_by_no_model(self, chosen: int) -> list[str]:
        """Of estimated speeds: ranked layouts that are not worse than the choice beyond a tie."""
        told = {"strategy", "provenance"} <= set(self.frame)
        if not told or self.frame["provenance"].iloc[chosen] != SIMULATED:
            return []
        near = (self.choice.ranks > 1) & (self.frame["provenance"] == SIMULATED).to_numpy()
        near &= (self.frame["strategy"] != self.frame["strategy"].iloc[chosen]).to_numpy()
        near[self._ties(chosen)] = False
        for objective in self.criteria.objectives:
            if not _is_speed(objective.column):
                return []
            column = numbers(self.frame, objective.column)
            best = column[chosen]
            near &= column * TIE > best if objective.maximise else column < best * TIE
        return list(dict.fromkeys(self.name(int(row)) for row in np.flatnonzero(near)))

    def _other_reading(self, binary: Ranking) -> str:
        """What a limit in decimal units would give in binary ones."""
        limits = [limit for limit in self.criteria.constraints if limit.binary is not None]
        decimal = ", ".join(f"{x.text} is {with_unit(x.limit, x.column)}" for x in limits)
        others = [limit.binary for limit in limits if limit.binary is not None]
        said = ", ".join(f"{x.text} ({with_unit(x.limit, x.column)})" for x in others)
        if binary.chosen == self.chosen:
            became = "nothing meets it either" if self.chosen is None else "the choice is the same"
        elif binary.chosen is None:
            became = "nothing meets it"
        else:
            became = f"the choice would be {self.name(binary.chosen)}"
        return f"{decimal}, a decimal size; with {said} {became}"

    def _ties(self, chosen: int) -> list[int]:
        """Ranked rows, best first, whose every objective is within the tie of the choice's."""
        close = self.choice.ranks > 1
        for objective in self.criteria.objectives:
            column = numbers(self.frame, objective.column)
            best = column[chosen]
            close &= np.abs(column - best) <= self.criteria.tie * abs(best)
        return sorted(np.flatnonzero(close).tolist(), key=lambda row: int(self.choice.ranks[row]))


def _is_speed(column: str) -> bool:
    """Whether a model of time says it, not a count of bytes or of GPUs."""
    return "throughput" in column or column.endswith(("_ms", "_s"))


def parse_criteria(
    objectives: Sequence[Objective],
    subject_to: Sequence[str],
    *,
    how: RankingMethod | None,
    order: str | None = None,
    unknown: UnknownPolicy = "refuse",
    tie: float = 0.0,
) -> Criteria:
    """Read criteria; several objectives are weighed at the knee unless told otherwise."""
    limits: list[Constraint] = [limit for text in subject_to for limit in parse_constraints(text)]
    if order is not None:
        objectives = _ordered(objectives, order)
    default: RankingMethod = "knee" if len(objectives) > 1 else "lexicographic"
    return Criteria(tuple(objectives), tuple(limits), how or default, unknown, tie)


def check_limited(frame: pd.DataFrame, subject_to: Sequence[str]) -> None:
    """Refuse limits on columns that are not there, before their units are looked at."""
    for column in (name for text in subject_to for name in limited_columns(text)):
        numbers(frame, column)


def _ordered(objectives: Sequence[Objective], order: str) -> list[Objective]:
    names = [name.strip() for name in order.split(",")]
    by_name = {objective.column: objective for objective in objectives}
    if sorted(names) != sorted(by_name):
        raise BadValue("order", order, f"each objective once: {','.join(by_name)}")
    return [by_name[name] for name in names]


def rank_landscape(frame: pd.DataFrame, criteria: Criteria) -> RankedLandscape:
    """Rank a landscape; the order of its rows makes no difference."""
    criteria = replace(
        criteria, objectives=tuple(resolved_objective(each, frame) for each in criteria.objectives)
    )
    more = undecided(frame, objectives=[each.column for each in criteria.objectives])
    labels, names = labels_of(frame, criteria.columns, more)
    frame = in_canonical_order(frame, labels)
    values = {column: numbers(frame, column) for column in criteria.columns}
    refused = verdicts(frame)
    ranking, binary = rank_rows(values, criteria, refused=refused), None
    if any(limit.binary for limit in criteria.constraints):
        read = tuple(limit.binary or limit for limit in criteria.constraints)
        binary = rank_rows(values, replace(criteria, constraints=read), refused=refused)
    return RankedLandscape(frame, criteria, ranking, labels, names, binary)
