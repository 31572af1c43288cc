"""Decisions: cases with their options, what each gave, and what is a tie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from perfmodel.arrays import BoolArray, FloatArray, IntArray

TextArray = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Cases:
    """Options in rows, sorted by case; all arrays over options unless said otherwise."""

    matrix: FloatArray
    """Features, shape (options, features)."""
    names: tuple[str, ...]
    analytic: FloatArray
    """Natural logarithm of the objective by the analytic model alone."""
    value: FloatArray
    """The objective as found, larger is better; the mean over replicates."""
    case: IntArray
    """Number of the case, from 0 without gaps."""
    family: TextArray
    strategy: TextArray
    model: TextArray
    hardware: TextArray
    provenance: TextArray
    experts: IntArray
    demand: IntArray
    """Input and output tokens, prompts and concurrency, shape (options, 4)."""
    runs: IntArray
    """Replicates behind each value."""
    run_sd: float
    """Standard deviation of one run's logarithm about its option's; assumed where none repeats."""
    tie: float
    """Share of the best value within which an option is as good."""
    skipped: Mapping[str, int]
    """Runs left out, by reason."""

    @property
    def absolute_residual(self) -> FloatArray:
        """How far the analytic model is off in each case: the mean over its options' logarithms."""
        error = np.log(self.value) - self.analytic
        size = np.bincount(self.case)
        absolute: FloatArray = (np.bincount(self.case, error) / size)[self.case]
        return absolute

    @property
    def relative_residual(self) -> FloatArray:
        """What decides: how far it is off for each option beside its case's absolute residual.

        Apart, since the absolute one varies several times as much and would drown it.
        """
        relative: FloatArray = np.log(self.value) - self.analytic - self.absolute_residual
        return relative

    @property
    def count(self) -> int:
        return int(self.case[-1]) + 1 if len(self.case) else 0

    @property
    def starts(self) -> IntArray:
        """First option of each case."""
        return np.flatnonzero(np.r_[True, np.diff(self.case) > 0])

    @property
    def best(self) -> FloatArray:
        """The oracle's value in each case."""
        best: FloatArray = np.maximum.reduceat(self.value, self.starts)
        return best

    @property
    def good(self) -> BoolArray:
        """Options that are best or tied with it."""
        good: BoolArray = self.value >= self.best[self.case] * (1 - self.tie)
        return good

    @property
    def majority(self) -> str:
        """The family that is best most often; a tie counts for each of its families."""
        names, counts = np.unique(self.family[self.good], return_counts=True)
        return str(names[counts.argmax()])

    def only(self, options: BoolArray) -> "Cases":
        """The cases of these options, numbered anew; `options` must hold whole cases."""
        _, case = np.unique(self.case[options], return_inverse=True)
        picked = {name: getattr(self, name)[options] for name in _ARRAYS}
        return _with(self, picked, case.reshape(-1))


_ARRAYS = (
    "matrix", "analytic", "value", "family", "strategy", "model", "hardware", "provenance",
    "experts", "demand", "runs",
)  # fmt: skip


def joined(parts: Sequence[Cases]) -> Cases:
    """Cases of several sources as one; their features must be the same."""
    first, offset, numbers = parts[0], 0, []
    for part in parts:
        numbers.append(part.case + offset)
        offset += part.count
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    return _with(first, arrays, np.concatenate(numbers))


def _with(cases: Cases, arrays: Mapping[str, Any], case: IntArray) -> Cases:
    return replace(cases, **arrays, case=case)
