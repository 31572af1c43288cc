"""Every score that `predict evaluate` prints, worked out by hand on six cases of three models."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, log_loss

from analysis.predict.cases import Cases
from analysis.predict.scores import (
    LEAST_CHANCE,
    Judged,
    calibration_error,
    fit_temperature,
    interval,
    judge,
    pick,
    softmax,
    summary,
)

GROUP = np.array(["m1", "m1", "m2", "m2", "m3", "m3"])
JUDGED = Judged(
    correct=np.array([1.0, 0, 1, 1, 0, 1]),
    regret=np.array([0.0, 0.2, 0, 0, 0.1, 0]),
    strictly=np.array([1.0, 0, 0, 1, 0, 1]),
    chance=np.array([0.95, 0.96, 0.05, 0.15, 1.0, 0.5]),
    best_chance=np.array([0.95, 0.04, 0.5, 0.15, 0.0, 0.5]),
    label=np.array(["a", "a", "a", "a", "b", "b"]),
    group=GROUP,
)


def cases(values: list[list[float]], *, tie: float = 0.0) -> Cases:
    """Cases of as many options as they have values; families are named by place, a, b, c."""
    flat = np.array([value for case in values for value in case])
    n = len(flat)
    text = np.array(["x"] * n)
    family = np.array([chr(97 + place) for case in values for place in range(len(case))])
    return Cases(
        matrix=np.zeros((n, 1)), names=("f",), analytic=np.zeros(n), value=flat,
        case=np.repeat(np.arange(len(values)), [len(case) for case in values]), family=family,
        strategy=family, hardware=text, provenance=text, tie=tie, skipped={},
        model=np.array([f"m{k}" for k, case in enumerate(values) for _ in case]),
        experts=np.zeros(n, int), demand=np.zeros((n, 4), int), runs=np.ones(n, int), run_sd=0.0,
    )  # fmt: skip


def test_every_printed_score_is_its_definition() -> None:
    found: dict[str, Any] = summary(JUDGED)
    assert (found["cases"], found["models"]) == (6, 3)
    assert found["accuracy"] == pytest.approx(4 / 6)
    # Of four cases whose best is an a three were right, of two b one.
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["mean_regret"] == pytest.approx(0.3 / 6)
    assert found["worst_regret"] == 0.2
    chances = (0.95, 0.04, 0.5, 0.15, LEAST_CHANCE, 0.5)
    assert found["log_loss"] == pytest.approx(-sum(map(math.log, chances)) / 6)
    # Tenths of probability: 0.95, 0.96 and 1.0 share one, with one right.
    gaps = abs(1 - (0.95 + 0.96 + 1.0)) + abs(0 - 0.05) + abs(1 - 0.15) + abs(1 - 0.5)
    assert found["calibration_error"] == pytest.approx(gaps / 6)


def test_intervals_are_the_central_95_percent_of_models_drawn_again() -> None:
    """Of 27 equally likely draws 8 have no m2 and one has it three times, each over 2.5 %."""
    found: dict[str, Any] = summary(JUDGED)
    # Right in half of the cases of m1 and m3, in all of m2.
    assert (found["accuracy_low"], found["accuracy_high"]) == pytest.approx((0.5, 1.0))
    # Regrets of 0.1, 0 and 0.05: three times m2, three times m1.
    assert (found["mean_regret_low"], found["mean_regret_high"]) == pytest.approx((0.0, 0.1))


def test_the_interval_is_the_percentile_bootstrap_of_scipy() -> None:
    values = np.random.default_rng(1).normal(1, 0.2, 40)
    low, high = interval(values, np.arange(40), seed=0)
    other = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(5))
    wanted = other.confidence_interval
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=0.01)


def test_a_model_of_more_cases_weighs_more_in_each_draw() -> None:
    values, group = np.array([1.0, 0, 0, 0]), np.array(["a", "b", "b", "b"])
    # Draws of two models: a twice 1, b twice 0, one each 1/4.
    assert interval(values, group, seed=0) == (0.0, 1.0)
    assert interval(np.array([1.0, 2.0]), np.array(["a", "a"]), seed=0) == (None, None)


def test_rules_without_probabilities_have_no_score_of_them() -> None:
    unknown = np.full(6, np.nan)
    judged = Judged(
        JUDGED.correct, JUDGED.regret, JUDGED.strictly, unknown, unknown, JUDGED.label, GROUP
    )
    found = summary(judged)
    assert found["log_loss"] is None
    assert found["calibration_error"] is None


def test_scores_of_two_options_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(3)
    made = cases(rng.uniform(1, 2, (60, 2)).tolist())
    score = rng.normal(0, 1, 120)
    chance = softmax(made, score, 0.7)
    found = summary(judge(made, score, chance))
    best, chosen = made.value.reshape(60, 2).argmax(1), score.reshape(60, 2).argmax(1)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(best, chosen))
    assert found["log_loss"] == pytest.approx(log_loss(best, chance.reshape(60, 2)))


def test_a_tie_is_right_and_costs_what_it_costs() -> None:
    made = cases([[100.0, 99.0, 80.0], [50.0, 100.0, 98.0]], tie=0.01)
    judged = judge(made, np.array([0.0, 9, 0, 0, 0, 9]), None)
    assert judged.correct.tolist() == [1.0, 0.0]
    assert judged.strictly.tolist() == [0.0, 0.0]
    assert judged.regret == pytest.approx([0.01, 0.02])
    assert judged.label.tolist() == ["a", "b"]
    assert np.isnan(judged.chance).all()


def test_the_first_of_equal_scores_is_picked() -> None:
    made = cases([[1.0, 2.0], [3.0, 1.0, 2.0]])
    assert pick(made, np.array([5.0, 5.0, 1.0, 7.0, 7.0])).tolist() == [0, 3]


@pytest.mark.parametrize(
    ("temperature", "shares"), [(1.0, (1 / 4, 3 / 4)), (0.5, (1 / 10, 9 / 10))]
)
def test_probabilities_are_powers_of_the_scores_exponentials(
    temperature: float, shares: tuple[float, float]
) -> None:
    made = cases([[1.0, 2.0], [1.0, 1.0]])
    chance = softmax(made, np.log(np.array([1.0, 3.0, 2.0, 2.0])), temperature)
    assert chance == pytest.approx([*shares, 0.5, 0.5])


def test_the_fitted_temperature_gives_the_chance_that_came_true() -> None:
    # The first option leads by 0.6 and is best in nine of ten: e^(0.6/τ) = 9, τ = 0.6/ln 9.
    made = cases([[2.0, 1.0]] * 90 + [[1.0, 2.0]] * 10)
    found = fit_temperature(made, np.tile([0.6, 0.0], 100))
    assert found == pytest.approx(0.6 / math.log(9), rel=0.08), "to a step of its grid"


def test_a_method_that_is_right_as_often_as_it_says_is_calibrated() -> None:
    chance = np.repeat([0.25, 0.75], 40)
    right = np.r_[np.tile([1.0, 0, 0, 0], 10), np.tile([1.0, 1, 1, 0], 10)]
    none = np.zeros(80)
    group = np.array(["m"] * 80)
    assert calibration_error(Judged(right, none, right, chance, chance, group, group)) == 0.0
    swapped = Judged(right, none, right[::-1], chance, chance, group, group)
    assert calibration_error(swapped) == pytest.approx(0.5), "though half are right in all"
