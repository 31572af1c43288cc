"""Which cases are held out: at random as the published study did, by model, by hardware."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from analysis.predict.cases import Cases
from catalog.errors import BadValue
from perfmodel.arrays import BoolArray

SplitName = Literal["random-80/20", "leave-one-model-out", "leave-one-hardware-out"]
SPLITS: tuple[SplitName, ...] = ("random-80/20", "leave-one-model-out", "leave-one-hardware-out")
MOST_FOLDS = 12
REPEATS = 5


def folds(cases: Cases, split: SplitName, *, seed: int) -> Iterator[BoolArray]:
    """Yield the options held out, fold by fold; a case is never cut.

    Models and GPUs are left out one by one, or in twelve groups where there are more.
    """
    if split == "random-80/20":
        yield from _stratified(cases, np.random.default_rng(seed))
        return
    column = cases.model if split == "leave-one-model-out" else cases.hardware
    # A case that compares several GPUs is held out with the first of them.
    names = column[cases.starts][cases.case]
    levels = np.unique(names)
    if len(levels) < 2:
        return
    order = np.random.default_rng(seed).permutation(levels)
    for part in np.array_split(order, min(MOST_FOLDS, len(levels))):
        yield np.isin(names, part)


def _stratified(cases: Cases, rng: np.random.Generator) -> Iterator[BoolArray]:
    """Fifths of the cases, each label spread evenly over them."""
    order = np.lexsort([-cases.value, cases.case])
    label = cases.family[order[cases.starts]]
    part = np.empty(cases.count, dtype=int)
    for name in np.unique(label):
        here = rng.permutation(np.flatnonzero(label == name))
        part[here] = (np.arange(len(here)) + rng.integers(REPEATS)) % REPEATS
    for number in np.unique(part):
        yield (part == number)[cases.case]


def split_of(text: str) -> SplitName:
    for name in SPLITS:
        if name == text:
            return name
    raise BadValue("split", text, ", ".join(SPLITS))
