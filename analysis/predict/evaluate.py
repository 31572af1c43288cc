"""Held-out performance of every method, by split and provenance, and the learning curve."""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.predict.cases import BoolArray, Cases
from analysis.predict.methods import CLASSIFIER, FOREST, METHODS, Scores
from analysis.predict.scores import fit_temperature, judge, softmax, summary
from analysis.predict.splits import SPLITS, Split, folds
from catalog.errors import BadValue
from perfmodel.arrays import FloatArray

Row = dict[str, float | int | str | bool | None]
CURVE = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
LEAST_CURVE_CASES = 8
WITH_CHANCE = (FOREST, CLASSIFIER, "analytic")


def evaluate(cases: Cases, *, splits: Sequence[Split] = SPLITS, seed: int = 0) -> Iterator[Row]:
    """Yield a row for each split, provenance and method; the forest's comes first in each."""
    for split in splits:
        try:
            held = list(folds(cases, split, seed=seed))
        except BadValue:
            continue
        scores = {name: held_out(cases, held, name, seed=seed) for name in METHODS}
        for provenance in ("", *np.unique(cases.provenance)):
            several = len(np.unique(cases.provenance)) > 1
            if (provenance == "") == several:
                continue
            yield from _rows(cases, scores, held, split=split, provenance=provenance)
