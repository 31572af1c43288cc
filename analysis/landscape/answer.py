"""A landscape with its choice: rows to print, and what to say about them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.landscape.choice import Ask, Choice, How, Unknown, choose
from analysis.landscape.constraint import Constraint, parse_constraints
from analysis.landscape.objective import Objective
from analysis.landscape.read import PLACE, meant, numbers, verdicts
from catalog.errors import BadValue

LABELS = (
    "method", "model", "strategy", "technique", "gpu_type", "workload", "max_concurrency",
    "request_rate",
)  # fmt: skip
Value = float | int | str | bool | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a landscape, ranked."""

    frame: pd.DataFrame
    ask: Ask
    choice: Choice

    @property
    def chosen(self) -> int | None:
        """Row of the choice; None when no row is feasible."""
        first = np.flatnonzero(self.choice.ranks == 1)
        return int(first[0]) if len(first) else None

    @property
    def labels(self) -> list[str]:
        """Columns that name a row."""
        known = [name for name in LABELS if name in self.frame]
        texts = [str(c) for c in self.frame if not pd.api.types.is_numeric_dtype(self.frame[c])]
        own = [name for name in texts if name not in (*PLACE, "derived")]
        return [name for name in known if name not in self.ask.columns] or own[:1]

    def rows(self, top: int | None = None) -> list[dict[str, Value]]:
        """All rows, or the first ones: ranked first, then refused in their own order."""
        ranks = self.choice.ranks
        order = np.argsort(np.where(ranks > 0, ranks, len(ranks) + 1), kind="stable")[:top]
        kept = self.frame.drop(columns=[name for name in PLACE if name in self.frame]).iloc[order]
        columns = {str(name): _plain(kept[name]) for name in kept}
        columns["rank"] = [int(rank) or None for rank in ranks[order]]
        columns["rejected_because"] = [self.choice.reasons[row] for row in order]
        columns["pareto"] = [bool(flag) for flag in self.choice.pareto[order]]
        names = list(columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def name(self, row: int) -> str:
        """The labels that tell rows of this landscape apart."""
        telling = [label for label in self.labels if self.frame[label].nunique() > 1]
        values = {label: _plain(self.frame[label].iloc[[row]])[0] for label in telling}
        return ", ".join(_said(label, value) for label, value in values.items() if value)

    @property
    def infeasible(self) -> str:
        """One line: nothing fits, and the nearest limits under which something does."""
        wanted = ", ".join(limit.text for limit in self.ask.constraints) or "known objectives"
        ways = [
            f"{' and '.join(each.limits)} ({each.excess:.0%} off) gives {self.name(each.row)}"
            for each in self.choice.relaxations
        ]
        nearest = f"; nearest: {'; or '.join(ways)}" if ways else "; no limit can be loosened to it"
        return f"no row of {len(self.frame)} meets {wanted}{nearest}"

    @property
    def notes(self) -> tuple[str, ...]:
        said = []
        refused = sum("unknown" in reason for reason in self.choice.reasons)
        if refused:
            said.append(f"{refused} rows refused for a value that is unknown, never taken as 0")
        if self.ask.unknown == "keep":
            said.append("rows with unknown values are kept: their limits are not shown to hold")
        if self.chosen is not None:
            how = "; ".join(objective.text for objective in self.ask.objectives)
            said.insert(0, f"choice: {self.name(self.chosen)} ({how}; {self.ask.how})")
            ties = self._ties()
            if ties:
                rule = "more room under the limits, then the order of the rows"
                said.insert(1, f"tied with {' and '.join(ties[:3])}: chosen by {rule}")
        return tuple(said)

    def _ties(self) -> list[str]:
        """Ranked rows whose every objective is within the tie of the choice's."""
        close = self.choice.ranks > 1
        for objective in self.ask.objectives:
            column = numbers(self.frame, objective.column)
            best = column[self.chosen]
            close &= np.abs(column - best) <= self.ask.tie * abs(best)
        return [self.name(int(row)) for row in np.flatnonzero(close)]


def parse_ask(
    objectives: Sequence[Objective],
    subject_to: Sequence[str],
    *,
    how: How | None,
    order: str | None = None,
    unknown: Unknown = "refuse",
    tie: float = 0.0,
) -> Ask:
    """Put an ask together; several objectives are weighed at the knee unless told otherwise."""
    limits: list[Constraint] = [limit for text in subject_to for limit in parse_constraints(text)]
    if order is not None:
        objectives = _ordered(objectives, order)
    default: How = "knee" if len(objectives) > 1 else "lexicographic"
    return Ask(tuple(objectives), tuple(limits), how or default, unknown, tie)


def _ordered(objectives: Sequence[Objective], order: str) -> list[Objective]:
    names = [name.strip() for name in order.split(",")]
    by_name = {objective.column: objective for objective in objectives}
    if sorted(names) != sorted(by_name):
        raise BadValue("order", order, f"each objective once: {','.join(by_name)}")
    return [by_name[name] for name in names]


def answer(frame: pd.DataFrame, ask: Ask) -> Answer:
    """Rank a landscape."""
    ask = replace(ask, objectives=tuple(meant(each, frame) for each in ask.objectives))
    values = {column: numbers(frame, column) for column in ask.columns}
    return Answer(frame, ask, choose(values, ask, refused=verdicts(frame)))


def _said(label: str, value: Value) -> str:
    return f"{label} {value}" if isinstance(value, float | int) else str(value)


def _plain(column: pd.Series) -> list[Value]:
    """A column as plain values, None where unknown."""
    if pd.api.types.is_float_dtype(column):
        return [_number(value) for value in column.tolist()]
    return [None if value is None or value != value else value for value in column.tolist()]


def _number(value: float) -> float | int | None:
    if value != value:
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
