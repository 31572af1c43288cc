"""Ways to choose a strategy: two forests, and the rules they must beat."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.predict.cases import Cases
from analysis.predict.forest import fit_classifier, fit_regressor
from perfmodel.arrays import FloatArray

FEW_EXPERTS, MANY_EXPERTS = 8, 60
MEASURED_WEIGHT = 20.0
"""Simulated rows that one measured row outweighs."""
SIMULATED = "simulated"
FOREST, CLASSIFIER = "forest", "forest-classifier"


@dataclass(frozen=True, slots=True)
class Scores:
    """A score for each option: the largest of a case is chosen."""

    score: FloatArray
    is_log: bool
    """Natural logarithm of the objective, up to a constant a case: regret can be read off it."""


Method = Callable[[Cases, Cases, int], Scores]


def weights(cases: Cases) -> FloatArray:
    """Measured options outweigh simulated ones; each case weighs alike within its kind."""
    size = np.bincount(cases.case)[cases.case]
    heavier = np.where(cases.provenance == SIMULATED, 1.0, MEASURED_WEIGHT)
    found: FloatArray = heavier / size
    return found


def forest(train: Cases, test: Cases, seed: int) -> Scores:
    """The analytic model corrected by a forest that has learned where it leans the wrong way."""
    fitted, _ = fit_regressor(train.matrix, train.lean, weight=weights(train), seed=seed)
    return Scores(test.analytic + fitted.predict(test.matrix)[:, 0], is_log=True)


def classifier(train: Cases, test: Cases, seed: int) -> Scores:
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
    return Scores(np.array(picked) + 1e-6 * _behind(test), is_log=False)


def analytic(_: Cases, test: Cases, __: int) -> Scores:
    return Scores(test.analytic, is_log=True)


def majority(train: Cases, test: Cases, _: int) -> Scores:
    return _always(train.majority, test)


def always_tp(_: Cases, test: Cases, __: int) -> Scores:
    return _always("tp", test)


def always_ep(_: Cases, test: Cases, __: int) -> Scores:
    return _always("ep", test)


def heuristic(_: Cases, test: Cases, __: int) -> Scores:
    """Up to 8 experts TP, from 60 on EP; TP in between, where the published rule is silent."""
    wanted = np.where(test.experts >= MANY_EXPERTS, "ep", "tp")
    return Scores(_preferred(test, wanted), is_log=False)


METHODS: dict[str, Method] = {
    FOREST: forest,
    CLASSIFIER: classifier,
    "analytic": analytic,
    "majority": majority,
    "always-tp": always_tp,
    "always-ep": always_ep,
    "paper-heuristic": heuristic,
}


def _always(family: str, test: Cases) -> Scores:
    return Scores(_preferred(test, np.full(len(test.family), family)), is_log=False)


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
