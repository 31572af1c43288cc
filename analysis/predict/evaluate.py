"""Held-out performance of every method, by split and provenance, and the learning curve."""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.predict.cases import Cases
from analysis.predict.methods import CLASSIFIER, FOREST, METHODS
from analysis.predict.scores import Judged, fit_temperature, judge, softmax, summary
from analysis.predict.splits import SPLITS, SplitName, folds
from orchestrator.results.record import Row
from perfmodel.arrays import BoolArray, FloatArray

CURVE = (2, 4, 8, 16, 32, 64, 128)
CURVE_FOLDS = 5
WITH_CHANCE = (FOREST, CLASSIFIER, "analytic")


def evaluate(cases: Cases, *, splits: Sequence[SplitName] = SPLITS, seed: int = 0) -> Iterator[Row]:
    """Yield a row for each split, provenance and method, the forest first in each.

    A split that the cases cannot make (one model, one GPU) yields nothing.
    """
    for split in splits:
        fold_masks = list(folds(cases, split, seed=seed))
        if not fold_masks:
            continue
        judged = {name: held_out(cases, fold_masks, name, seed=seed) for name in METHODS}
        kinds = cases.provenance[cases.starts]
        for provenance in np.unique(kinds):
            here = kinds == provenance
            yield from _rows(judged, here, split=split, provenance=str(provenance))


def _rows(
    judged: dict[str, Judged], here: BoolArray, *, split: str, provenance: str
) -> Iterator[Row]:
    baseline = float(judged["majority"].correct[here].mean())
    for name, outcome in judged.items():
        yield {
            "split": split,
            "provenance": provenance,
            "method": name,
            **summary(outcome.only(here)),
            "majority_baseline": baseline,
        }


def held_out(cases: Cases, fold_masks: Sequence[BoolArray], method: str, *, seed: int) -> Judged:
    """Judge a method on every case by what was fitted without the case's fold."""
    score, is_log = held_out_scores(cases, fold_masks, method, seed=seed)
    if method not in WITH_CHANCE:
        return judge(cases, score, None)
    if not is_log:
        total = np.add.reduceat(np.maximum(score, 0.0), cases.starts)[cases.case]
        return judge(cases, score, np.maximum(score, 0.0) / np.maximum(total, 1e-12))
    chance = np.empty(len(score))
    for mask in fold_masks:
        others = ~mask if (~mask).any() else mask
        temperature = fit_temperature(cases.only(others), score[others])
        chance[mask] = softmax(cases.only(mask), score[mask], temperature)
    return judge(cases, score, chance)


def held_out_scores(
    cases: Cases, fold_masks: Sequence[BoolArray], method: str, *, seed: int
) -> tuple[FloatArray, bool]:
    """Each option's score by what was fitted without its fold, and whether it is a logarithm."""
    score, is_log = np.empty(len(cases.value)), False
    for mask in fold_masks:
        found = METHODS[method](cases.only(~mask), cases.only(mask), seed)
        score[mask], is_log = found.score, found.is_log
    return score, is_log


def learning_curve(cases: Cases, *, seed: int = 0) -> Iterator[Row]:
    """Regret and accuracy on models held out, against the number of models trained on."""
    rng = np.random.default_rng(seed)
    models = rng.permutation(np.unique(cases.model))
    if len(models) < 3:
        return
    parts = np.array_split(models, min(CURVE_FOLDS, len(models)))
    most = len(models) - len(parts[0])
    for size in [*(n for n in CURVE if n < most), most]:
        outcomes = [_at(cases, part, models, size, seed) for part in parts]
        for provenance in np.unique(cases.provenance):
            rows = [pair for pair in outcomes if (pair[0].provenance == provenance).any()]
            yield _curve_row(rows, str(provenance), size)


def _at(
    cases: Cases, part: np.ndarray, models: np.ndarray, size: int, seed: int
) -> tuple[Cases, Judged]:
    train_models = [name for name in models if name not in set(part)][:size]
    test = cases.only(np.isin(cases.model, part))
    train = cases.only(np.isin(cases.model, train_models))
    return test, judge(test, METHODS[FOREST](train, test, seed).score, None)


def _curve_row(outcomes: Sequence[tuple[Cases, Judged]], provenance: str, size: int) -> Row:
    pairs = [(j, c.provenance[c.starts] == provenance) for c, j in outcomes]
    parts = [judged.only(here) for judged, here in pairs]
    joined = Judged(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Judged.__slots__)
    )
    found = summary(joined)
    kept = ("cases", "accuracy", "accuracy_low", "accuracy_high", "mean_regret",
            "mean_regret_low", "mean_regret_high")  # fmt: skip
    return {
        "split": "learning-curve",
        "provenance": provenance,
        "method": FOREST,
        "models_trained_on": size,
        **{name: found[name] for name in kept},
    }
