"""The stored forest is scikit-learn's, and nothing but arrays is read back."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from analysis.predict.cases import Cases
from analysis.predict.forest import Forest, from_sklearn
from analysis.predict.predictor import ANALYTIC_UNCERTAINTY, fit, load_predictor, save
from catalog.errors import BadFile


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(200, 5)) * 10.0 ** rng.integers(-3, 9, size=5)
    return matrix, np.sin(matrix[:, 0]) + (matrix[:, 1] > 0)


def test_a_regression_forest_predicts_what_scikit_learn_does(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    matrix, target = data
    model = RandomForestRegressor(n_estimators=7, random_state=0).fit(matrix, target)
    assert np.allclose(from_sklearn(model).predict(matrix)[:, 0], model.predict(matrix))


def test_a_classification_forest_gives_scikit_learn_s_shares(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    matrix, target = data
    model = RandomForestClassifier(n_estimators=7, random_state=0).fit(matrix, target > 1)
    assert np.allclose(from_sklearn(model).predict(matrix), model.predict_proba(matrix))


def test_a_stored_predictor_predicts_the_same(cases: Cases, tmp_path: Path) -> None:
    fitted = fit(cases, objective="throughput")
    save(fitted, tmp_path / "p.npz")
    read = load_predictor(tmp_path / "p.npz")
    assert read.about == fitted.about
    before = fitted.log_values(cases.matrix, cases.analytic, model="new")
    assert np.array_equal(read.log_values(cases.matrix, cases.analytic, model="new"), before)


def test_a_predictor_of_simulated_rows_alone_does_not_trust_itself(cases: Cases) -> None:
    about = fit(cases, objective="throughput").about
    assert about.uncertainty == ANALYTIC_UNCERTAINTY
    assert about.measured == ()


def test_a_pickle_or_any_other_file_is_refused(tmp_path: Path) -> None:
    objects = tmp_path / "objects.npz"
    np.savez(objects, about=np.array([{"a": 1}], dtype=object))
    torn = tmp_path / "torn.npz"
    torn.write_bytes(b"PK\x03\x04 nothing")
    for path in (objects, torn, tmp_path / "absent.npz"):
        with pytest.raises(BadFile):
            load_predictor(path)


def test_trees_that_lead_out_of_the_forest_are_refused(cases: Cases) -> None:
    arrays = fit(cases, objective="throughput").relative.arrays()
    arrays["left"] = arrays["left"] + len(arrays["left"])
    with pytest.raises(ValueError, match="damaged"):
        Forest.from_arrays(arrays)
