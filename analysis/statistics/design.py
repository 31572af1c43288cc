"""Model frames for the fits: safe column names, levels in a fixed order, formulas in one place."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from analysis.data.order import shown
from catalog.errors import BadFile, BadValue

# Between the factors of an interaction's name.
TIMES = " × "


@dataclass(frozen=True, slots=True)
class Design:
    """A response and its factors under names that are safe inside a formula."""

    frame: pd.DataFrame
    """Columns y, f0, f1, …"""
    factors: tuple[str, ...]
    where: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"f{i}" for i in range(len(self.factors)))

    def levels(self, factor: str) -> int:
        return int(self.frame[self.names[self.factors.index(factor)]].nunique())

    def formula(self, order: int) -> str:
        """All main effects and interactions up to this order, with sum-to-zero contrasts."""
        terms = [
            ":".join(f"C({name}, Sum)" for name in chosen)
            for size in range(1, order + 1)
            for chosen in combinations(self.names, size)
        ]
        return "y ~ " + " + ".join(terms)

    def columns(self, term: Sequence[str]) -> np.ndarray:
        """Sum-to-zero contrasts of a term, the product of its factors': rows × its parameters."""
        made = np.ones((len(self.frame), 1))
        for factor in term:
            codes = pd.factorize(self.frame[self.names[self.factors.index(factor)]], sort=True)[0]
            last = int(codes.max())
            own = np.vstack([np.eye(last), -np.ones((1, last))])[codes]
            made = (made[:, :, None] * own[:, None, :]).reshape(len(made), -1)
        return made

    def label(self, term: str) -> str:
        """Name a fitted term by the user's factors: `strategy × model`."""
        parts = term.replace("C(", "").replace(", Sum)", "").replace(")", "").split(":")
        return TIMES.join(self.factors[self.names.index(part.strip())] for part in parts)


def design(
    frame: pd.DataFrame, y: np.ndarray, factors: Sequence[str], *, where: str = "table"
) -> Design:
    """Put a response and factors under safe names; levels become text."""
    columns: dict[str, object] = {"y": np.asarray(y, dtype=float)}
    for i, factor in enumerate(factors):
        columns[f"f{i}"] = [shown(level) for level in frame[factor]]
    return Design(pd.DataFrame(columns), tuple(factors), where)


def check_cells_filled(made: Design, order: int) -> None:
    """Refuse interactions of a crossing with empty cells, and name one."""
    for size in range(2, order + 1):
        for chosen in combinations(range(len(made.factors)), size):
            names = [made.names[i] for i in chosen]
            full = pd.MultiIndex.from_product([sorted(made.frame[n].unique()) for n in names])
            missing = full.difference(pd.MultiIndex.from_frame(made.frame[names]))
            if len(missing):
                crossing = " × ".join(made.factors[i] for i in chosen)
                cell = " × ".join(map(str, missing[0]))
                problem = f"no run of {crossing} = {cell}: this interaction cannot be estimated"
                raise BadFile(made.where, f"{problem}; lower --order or leave a factor out")


def check_residual_df(made: Design, order: int) -> None:
    """Refuse a model with as many parameters as rows."""
    sizes = [made.levels(factor) - 1 for factor in made.factors]
    parameters = 1 + sum(
        int(np.prod([sizes[i] for i in chosen]))
        for size in range(1, order + 1)
        for chosen in combinations(range(len(sizes)), size)
    )
    if len(made.frame) <= parameters:
        way = f"more rows than the model's {parameters} parameters: lower --order, or more runs"
        raise BadValue("rows", len(made.frame), way, where=made.where)
