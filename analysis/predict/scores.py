"""How good choices are: accuracy, balanced accuracy, log-loss, calibration, regret."""

from dataclasses import dataclass

import numpy as np

from analysis.predict.cases import Cases
from perfmodel.arrays import BoolArray, FloatArray, IntArray

BINS = 10
RESAMPLES = 1000
TEMPERATURES = np.geomspace(1e-3, 3.0, 60)
LEAST_CHANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Judged:
    """Each case's outcome under one method."""

    correct: FloatArray
    """1 where the choice is best or tied with it."""
    regret: FloatArray
    """Share of the oracle's objective that the choice loses."""
    strictly: FloatArray
    """1 where the choice is the best itself: what a probability is about."""
    chance: FloatArray
    """Probability the method gave to its choice; NaN for rules that give none."""
    best_chance: FloatArray
    """Probability it gave to the best."""
    label: np.ndarray
    group: np.ndarray
    """What the intervals resample: the model of each case."""

    def only(self, cases: BoolArray) -> "Judged":
        return Judged(*(getattr(self, name)[cases] for name in Judged.__slots__))


def pick(cases: Cases, score: FloatArray) -> IntArray:
    """Option of the largest score in each case, the first among equals."""
    order = np.lexsort([np.arange(len(score)), -score, cases.case])
    return order[cases.starts]


def softmax(cases: Cases, score: FloatArray, temperature: float) -> FloatArray:
    """Probability of each option within its case: e^(s/τ) / Σ e^(s/τ)."""
    best = np.maximum.reduceat(score, cases.starts)[cases.case]
    raised = np.exp((score - best) / temperature)
    total: FloatArray = raised / np.add.reduceat(raised, cases.starts)[cases.case]
    return total


def fit_temperature(cases: Cases, score: FloatArray) -> float:
    """The temperature of the least log-loss on cases the scores were not fitted to."""
    losses = [_log_loss(cases, softmax(cases, score, t)) for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def _log_loss(cases: Cases, chance: FloatArray) -> float:
    return float(-np.log(np.clip(chance[_winners(cases)], LEAST_CHANCE, 1.0)).mean())


def _winners(cases: Cases) -> IntArray:
    return pick(cases, cases.value)


def judge(cases: Cases, score: FloatArray, chance: FloatArray | None) -> Judged:
    """Compare a method's choices with the oracle's."""
    chosen = pick(cases, score)
    none = np.full(cases.count, np.nan)
    winner = _winners(cases)
    return Judged(
        correct=cases.good[chosen].astype(float),
        regret=1.0 - cases.value[chosen] / cases.best,
        strictly=(chosen == winner).astype(float),
        chance=none if chance is None else chance[chosen],
        best_chance=none if chance is None else chance[winner],
        label=cases.family[winner],
        group=cases.model[cases.starts],
    )


def summary(judged: Judged, *, seed: int = 0) -> dict[str, float | int | None]:
    """Means with 95 % intervals from resampling whole models, None where there is but one."""
    accuracy, regret = judged.correct, judged.regret
    accuracy_low, accuracy_high = interval(accuracy, judged.group, seed=seed)
    regret_low, regret_high = interval(regret, judged.group, seed=seed)
    by_label = [accuracy[judged.label == name].mean() for name in np.unique(judged.label)]
    known = not np.isnan(judged.chance).any()
    return {
        "cases": len(accuracy),
        "models": len(np.unique(judged.group)),
        "accuracy": float(accuracy.mean()),
        "accuracy_low": accuracy_low,
        "accuracy_high": accuracy_high,
        "balanced_accuracy": float(np.mean(by_label)),
        "mean_regret": float(regret.mean()),
        "mean_regret_low": regret_low,
        "mean_regret_high": regret_high,
        "worst_regret": float(regret.max()),
        "log_loss": float(-np.log(np.clip(judged.best_chance, LEAST_CHANCE, 1)).mean())
        if known
        else None,
        "calibration_error": calibration_error(judged) if known else None,
    }


def interval(
    values: FloatArray, group: np.ndarray, *, seed: int
) -> tuple[float | None, float | None]:
    """Percentiles of the mean over models drawn with replacement, each with all its cases."""
    _, code = np.unique(group, return_inverse=True)
    sums, counts = np.bincount(code, values), np.bincount(code)
    if len(sums) < 2:
        return None, None
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def calibration_error(judged: Judged) -> float:
    """Σ n_b/n |share right_b − mean probability_b| over ten equal bins of probability."""
    place = np.minimum((judged.chance * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, judged.strictly - judged.chance, minlength=BINS)
    return float(np.abs(gaps).sum() / len(place))
