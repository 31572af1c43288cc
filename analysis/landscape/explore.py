"""Choosing what to measure next when every configuration costs a run.

A Gaussian process over the configurations measured so far predicts each metric that the criteria
need; the next one measured is that of the largest expected improvement of the objective, times the
chance that it meets every limit (Gardner et al., Bayesian Optimization with Inequality
Constraints, ICML 2014).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from analysis.landscape.constraint import Constraint
from analysis.landscape.ranking import Criteria
from analysis.landscape.space import Configuration, coordinates
from catalog.errors import BadValue, MissingExtra
from perfmodel.arrays import FloatArray

Sampler = Literal["bayes", "random", "grid"]
SAMPLERS: tuple[Sampler, ...] = ("bayes", "random", "grid")
Measure = Callable[[Configuration], Mapping[str, float] | None]
"""Metrics of one configuration; None when its run failed."""
FIRST = 5
"""Configurations drawn at random before the process has anything to go by."""
LARGEST_LOG = 50.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration that was measured, or failed."""

    number: int
    place: int
    """Position in the space."""
    configuration: Configuration
    metrics: Mapping[str, float] | None

    def meets(self, limits: Sequence[Constraint]) -> bool:
        metrics = self.metrics
        return metrics is not None and all(
            limit.holds(np.array([metrics[limit.column]]))[0] for limit in limits
        )


def explore(
    space: Sequence[Configuration],
    measure: Measure,
    criteria: Criteria,
    *,
    budget: int,
    sampler: Sampler = "bayes",
    seed: int = 0,
) -> list[Trial]:
    """Measure at most `budget` configurations of the space, none twice."""
    if budget < 1:
        raise BadValue("budget", budget, "1 run or more")
    if len(criteria.objectives) != 1:
        raise BadValue("objectives of an exploration", len(criteria.objectives), "exactly one")
    trials: list[Trial] = []
    choose = _SAMPLERS[sampler](space, criteria, min(budget, len(space)), seed)
    for number in range(min(budget, len(space))):
        place = choose(trials)
        metrics = measure(space[place])
        trials.append(Trial(number, place, space[place], metrics))
    return trials


def best(trials: Sequence[Trial], criteria: Criteria) -> Trial | None:
    """The measured configuration that is best within the limits; None when none meets them."""
    kept = [trial for trial in trials if trial.meets(criteria.constraints)]
    return min(kept, key=lambda trial: _cost(trial, criteria), default=None)


def _cost(trial: Trial, criteria: Criteria) -> float:
    assert trial.metrics is not None
    objective = criteria.objectives[0]
    value = trial.metrics[objective.column]
    return -value if objective.maximise else value


Chooser = Callable[[list[Trial]], int]


def _random(space: Sequence[Configuration], _: Criteria, __: int, seed: int) -> Chooser:
    order = np.random.default_rng(seed).permutation(len(space))
    return lambda trials: int(order[len(trials)])


def _grid(space: Sequence[Configuration], _: Criteria, budget: int, seed: int) -> Chooser:
    """Evenly spaced positions of the space in its order, from a drawn start."""
    start = float(np.random.default_rng(seed).random())
    places = ((np.arange(budget) + start) * len(space) / budget).astype(int) % len(space)
    return lambda trials: int(places[len(trials)])


def _bayes(space: Sequence[Configuration], criteria: Criteria, budget: int, seed: int) -> Chooser:
    points = coordinates(space)
    first = _random(space, criteria, budget, seed)

    def choose(trials: list[Trial]) -> int:
        if len(trials) < FIRST:
            return first(trials)
        left = np.setdiff1d(np.arange(len(space)), [trial.place for trial in trials])
        known = [trial for trial in trials if trial.metrics is not None]
        if len(known) < 2:
            return int(left[0])
        worth = _worth(points, left, known, criteria, seed)
        return int(left[int(np.argmax(worth))])

    return choose


def _worth(
    points: FloatArray, left: np.ndarray, known: Sequence[Trial], criteria: Criteria, seed: int
) -> FloatArray:
    """Logarithm of expected improvement times chance of being feasible."""
    from scipy.stats import norm

    measured = points[[trial.place for trial in known]]
    log_worth = np.zeros(len(left))
    for limit in criteria.constraints:
        mean, spread = _posterior(measured, _column(known, limit.column), points[left], seed)
        beyond = (np.log(limit.limit) - mean) / spread
        log_worth += norm.logcdf(beyond if limit.upper else -beyond)
    objective = criteria.objectives[0]
    values = _column(known, objective.column)
    mean, spread = _posterior(measured, values, points[left], seed)
    sign = 1.0 if objective.maximise else -1.0
    feasible = np.array([trial.meets(criteria.constraints) for trial in known])
    if not feasible.any():
        return log_worth
    z = sign * (mean - sign * (sign * values[feasible]).max()) / spread
    improvement = spread * (norm.pdf(z) + z * norm.cdf(z))
    return np.asarray(log_worth + np.log(np.maximum(improvement, np.exp(-LARGEST_LOG))))


def _column(known: Sequence[Trial], column: str) -> FloatArray:
    """Logarithms: rates and times differ by factors."""
    found = [trial.metrics[column] for trial in known if trial.metrics is not None]
    if min(found) <= 0:
        raise BadValue(column, min(found), "over 0 in every run of an exploration")
    return np.log(found)


def _posterior(
    at: FloatArray, values: FloatArray, wanted: FloatArray, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of a Gaussian process fitted to what was measured."""
    process = _process(seed)
    with warnings.catch_warnings():
        # A length scale at its bound is an answer: the metric does not depend on that coordinate.
        warnings.simplefilter("ignore")
        process.fit(at, values)
    mean, spread = process.predict(wanted, return_std=True)
    return np.asarray(mean), np.maximum(np.asarray(spread), 1e-6)


def _process(seed: int) -> Any:
    try:
        from sklearn.gaussian_process import GaussianProcessRegressor, kernels
    except ImportError:
        raise MissingExtra("exploring", "analysis") from None
    scales = np.full(5, 2.0)
    kernel = kernels.ConstantKernel(1.0, (1e-2, 1e2)) * kernels.Matern(
        scales, (0.3, 30.0), nu=2.5
    ) + kernels.WhiteKernel(1e-3, (1e-6, 1e-1))
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)


_SAMPLERS: dict[Sampler, Callable[[Sequence[Configuration], Criteria, int, int], Chooser]] = {
    "bayes": _bayes,
    "random": _random,
    "grid": _grid,
}
