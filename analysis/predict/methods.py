"""Ways to choose a strategy: two forests, and the rules they must beat."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.predict.cases import Cases
from analysis.predict.forest import fit_classifier, fit_regressor
from perfmodel.arrays import FloatArray

MANY_EXPERTS = 60
MEASURED_WEIGHT = 20.0
"""Simulated rows that one measured row outweighs."""
TRUST_FOLDS = 3
SIMULATED = "simulated"
FOREST, CLASSIFIER = "forest", "forest-classifier"


@dataclass(frozen=True, slots=True)
class OptionScores:
    """A score for each option: the largest of a case is chosen."""

    score: FloatArray
    is_log: bool
    """Natural logarithm of the objective, up to a constant a case: regret can be read off it."""


ScoringMethod = Callable[[Cases, Cases, int], OptionScores]


def weights(cases: Cases) -> FloatArray:
    """Measured options outweigh simulated ones; each case weighs alike within its kind."""
    size = np.bincount(cases.case)[cases.case]
    heavier = np.where(cases.provenance == SIMULATED, 1.0, MEASURED_WEIGHT)
    found: FloatArray = heavier / size
    return found


def forest(train: Cases, test: Cases, seed: int) -> OptionScores:
    """The analytic model corrected by a forest that has learned where it leans the wrong way.

    For a model that was not measured the correction counts as far as it is trusted.
    """
    fitted, _ = fit_regressor(
        train.matrix, train.relative_residual, weight=weights(train), seed=seed
    )
    new = ~np.isin(test.model, train.model[train.provenance != SIMULATED])
    share = np.where(new, trust(train, seed=seed), 1.0) if new.any() else 1.0
    return OptionScores(test.analytic + share * fitted.predict(test.matrix)[:, 0], is_log=True)


def trust(train: Cases, *, seed: int) -> float:
    """How much of a learned correction carries over to a model that was not measured, 0 to 1.

    The least-squares factor on measured options, λ = Σ e ê / Σ ê², of corrections ê that were
    learned without their model: 0 where fewer than two models were measured, since nothing shows
    it then, and 1 where nothing was measured, since simulated rows are judged by simulated ones.
    """
    real = train.provenance != SIMULATED
    models = np.unique(train.model[real])
    if not len(models):
        return 1.0
    if len(models) < 2:
        return 0.0
    guess = np.zeros(len(train.value))
    for part in np.array_split(models, min(TRUST_FOLDS, len(models))):
        held = np.isin(train.model, part)
        rest = train.only(~held)
        fitted, _ = fit_regressor(
            rest.matrix, rest.relative_residual, weight=weights(rest), seed=seed
        )
        guess[held] = fitted.predict(train.matrix[held])[:, 0]
    return share_of(guess[real], train.relative_residual[real])


def share_of(guess: FloatArray, residual: FloatArray) -> float:
    """Least-squares factor Σ e ê / Σ ê² of guessed corrections, held to 0 to 1."""
    power = float((guess**2).sum())
    shared = float((guess * residual).sum())
    return min(max(shared / power, 0.0), 1.0) if power > 0 else 0.0


def classifier(train: Cases, test: Cases, seed: int) -> OptionScores:
    """A RandomForestClassifier of the best family, as the published study had; the reference.

    It sees each case through its options: the family's own features, best or not.
    """
    families = _families(train)
    fitted, classes = fit_classifier(
        _wide(train, families), _labels(train), weight=_case_weights(train), seed=seed
    )
    shares = fitted.predict(_wide(test, families))[test.case]
    column = {name: number for number, name in enumerate(classes)}
    picked = [shares[i, column[f]] if f in column else 0.0 for i, f in enumerate(test.family)]
    # Within a family the analytic model decides, by less than any share differs.
    return OptionScores(np.array(picked) + 1e-6 * _behind(test), is_log=False)


def analytic(_: Cases, test: Cases, __: int) -> OptionScores:
    return OptionScores(test.analytic, is_log=True)


def majority(train: Cases, test: Cases, _: int) -> OptionScores:
    return _always(train.majority, test)


def always_tp(_: Cases, test: Cases, __: int) -> OptionScores:
    return _always("tp", test)


def always_ep(_: Cases, test: Cases, __: int) -> OptionScores:
    return _always("ep", test)


def heuristic(_: Cases, test: Cases, __: int) -> OptionScores:
    """Up to 8 experts TP, from 60 on EP; TP in between, where the published rule is silent."""
    wanted = np.where(test.experts >= MANY_EXPERTS, "ep", "tp")
    return OptionScores(_preferred(test, wanted), is_log=False)


METHODS: dict[str, ScoringMethod] = {
    FOREST: forest,
    CLASSIFIER: classifier,
    "analytic": analytic,
    "majority": majority,
    "always-tp": always_tp,
    "always-ep": always_ep,
    "paper-heuristic": heuristic,
}


def _always(family: str, test: Cases) -> OptionScores:
    return OptionScores(_preferred(test, np.full(len(test.family), family)), is_log=False)


def _preferred(test: Cases, wanted: np.ndarray) -> FloatArray:
    """The family wanted; where it does not fit TP, then whatever does."""
    return np.where(test.family == wanted, 2.0, np.where(test.family == "tp", 1.0, 0.0))


def _behind(cases: Cases) -> FloatArray:
    best = np.maximum.reduceat(cases.analytic, cases.starts)
    behind: FloatArray = cases.analytic - best[cases.case]
    return behind


def _families(cases: Cases) -> tuple[str, ...]:
    return tuple(str(name) for name in np.unique(cases.family))


def _wide(cases: Cases, families: tuple[str, ...]) -> FloatArray:
    """One row a case: the features of its first option, then each family's analytic standing."""
    standing = np.full((cases.count, len(families)), -10.0)
    behind = _behind(cases)
    for number, name in enumerate(families):
        here = cases.family == name
        np.maximum.at(standing[:, number], cases.case[here], behind[here])
    return np.column_stack([cases.matrix[cases.starts], standing])


def _labels(cases: Cases) -> np.ndarray:
    order = np.lexsort([-cases.value, cases.case])
    return cases.family[order[cases.starts]]


def _case_weights(cases: Cases) -> FloatArray:
    simulated = cases.provenance[cases.starts] == SIMULATED
    return np.where(simulated, 1.0, MEASURED_WEIGHT)
