"""Scores mean what they are called; what is held out is not learned from."""

import numpy as np
import pytest

from analysis.predict import published
from analysis.predict.cases import Cases
from analysis.predict.evaluate import evaluate, learning_curve
from analysis.predict.methods import METHODS, OptionScores
from analysis.predict.published import (
    evaluate_published,
    published_cases,
    published_curve,
    ratios,
)
from analysis.predict.scores import calibration_error, judge, softmax, summary


@pytest.mark.slow
def test_the_oracle_has_no_regret_and_is_always_right(cases: Cases) -> None:
    found = summary(judge(cases, np.log(cases.value), softmax(cases, np.log(cases.value), 1e-3)))
    assert found["accuracy"] == 1.0
    assert found["mean_regret"] == 0.0


def test_the_worst_choice_loses_what_the_best_is_ahead(cases: Cases) -> None:
    judged = judge(cases, -cases.value, None)
    worst = np.minimum.reduceat(cases.value, cases.starts)
    assert np.allclose(judged.regret, 1 - worst / cases.best)


def test_probabilities_of_a_case_add_up_to_one(cases: Cases) -> None:
    chance = softmax(cases, np.log(cases.value), 0.1)
    assert np.allclose(np.add.reduceat(chance, cases.starts), 1.0)


def test_a_rule_that_claims_certainty_and_errs_is_badly_calibrated(cases: Cases) -> None:
    sure = np.where(cases.family == "ep", 1.0, 0.0)
    judged = judge(cases, sure, sure)
    # Certain of EP, where there is any, it is off by each that is wrong; and where it gives its
    # first option no chance at all, by each that is right.
    off = 0.0
    for number in range(cases.count):
        here = np.flatnonzero(cases.case == number)
        spread = here[cases.family[here] == "ep"]
        chosen = spread[0] if len(spread) else here[0]
        right = cases.value[chosen] == cases.value[here].max()
        off += right != bool(len(spread))
    assert calibration_error(judged) == pytest.approx(off / cases.count)
    assert calibration_error(judged) > 0.2


@pytest.mark.slow
def test_every_baseline_stands_beside_the_forest_in_each_split(cases: Cases) -> None:
    rows = list(evaluate(cases, splits=["leave-one-hardware-out"]))
    assert [row["method"] for row in rows] == list(METHODS)
    assert {row["provenance"] for row in rows} == {"simulated"}
    tp = next(row for row in rows if row["method"] == "always-tp")
    best_is_tp = np.logical_or.reduceat(cases.good & (cases.family == "tp"), cases.starts)
    assert tp["accuracy"] == pytest.approx(best_is_tp.mean())


@pytest.mark.slow
def test_held_out_architectures_are_chosen_for_far_better_than_by_majority(cases: Cases) -> None:
    row = next(evaluate(cases, splits=["leave-one-model-out"]))
    accuracy, majority, regret = (
        row[name] for name in ("accuracy", "majority_baseline", "mean_regret")
    )
    assert isinstance(accuracy, float)
    assert isinstance(majority, float)
    assert isinstance(regret, float)
    assert accuracy >= majority + 0.10
    assert regret < 0.03


@pytest.mark.slow
def test_the_learning_curve_grows_in_models(cases: Cases) -> None:
    rows = list(learning_curve(cases))
    sizes = [row["models_trained_on"] for row in rows]
    # Fourteen models in five parts: eleven are left beside the largest of three.
    assert len(set(cases.model)) == 14
    assert sizes == [2, 4, 8, 11]
    for row in rows:
        told = (row["split"], row["provenance"], row["method"])
        assert told == ("learning-curve", "simulated", "forest")
        assert row["cases"] == cases.count
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        assert row["mean_regret_low"] <= row["mean_regret"] <= row["mean_regret_high"]


def test_table_vi_s_rows_have_its_ratios() -> None:
    cases = published_cases()
    where = published.cells(cases)
    for key, ratio in ratios().items():
        here = np.array([each == key for each in where])
        sums = [cases.value[here & (cases.family == name)].sum() for name in ("ep", "tp")]
        assert sums[0] / sums[1] == pytest.approx(ratio)


def test_no_row_of_the_model_asked_about_is_learned_from(
    cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(train: Cases, test: Cases, _: int) -> OptionScores:
        assert not set(train.model) & set(test.model)
        assert {"OLMoE-1B-7B", *set(test.model)} & set(train.model) or "OLMoE-1B-7B" in test.model
        return OptionScores(test.analytic, is_log=True)

    monkeypatch.setattr(published, "METHODS", {"watched": watched})
    (row,) = evaluate_published(cases)
    assert row["cases"] == 9


@pytest.mark.slow
def test_the_published_rules_lose_what_table_vi_says() -> None:
    rows = {row["method"]: row for row in evaluate_published(None)}
    # By hand: TP loses 0.9/100.9 and 11.4/111.4; the heuristic 11.9, 5.9, 3.5 and 3.7 percent.
    assert rows["always-tp"]["mean_regret"] == pytest.approx((0.9 / 100.9 + 11.4 / 111.4) / 9)
    assert rows["paper-heuristic"]["mean_regret"] == pytest.approx(0.25 / 9)
    # Two other models do not show that Qwen's decode-heavy cells prefer EP; what the forests lose
    # here is reported as it is, and no setting is changed to look better.
    for name in ("forest", "forest-classifier"):
        wrong = str(rows[name]["wrong"]).split("; ")
        losses = [abs(1 - min(r, 1 / r)) for r in (ratios()[_cell(text)] for text in wrong)]
        assert rows[name]["mean_regret"] == pytest.approx(sum(losses) / 9)


@pytest.mark.slow
def test_the_published_curve_starts_from_the_analytic_model_alone() -> None:
    curve = list(published_curve())
    assert [row["models_trained_on"] for row in curve] == [0, 1, 2]
    analytic = next(row for row in evaluate_published(None) if row["method"] == "analytic")
    assert curve[0]["mean_regret"] == pytest.approx(analytic["mean_regret"])


def _cell(text: str) -> tuple[str, str]:
    model, workload = text.split(": ")[0].split(" ")
    return model, workload
