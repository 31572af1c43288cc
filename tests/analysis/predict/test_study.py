"""A recipe is one table; synthetic architectures are models like any other."""

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from analysis.predict.architecture import LARGEST_PARAMS, synthetic_models
from analysis.predict.study import Recipe, cases_of, read_recipe, rows_of
from catalog.errors import BadFile, BadValue
from catalog.models import Model
from strategies.feasible import layout_violations
from strategies.layout import Layout

RECIPE = Path(__file__).parents[3] / "examples" / "choosing" / "training_study.yaml"


def test_the_shipped_recipe_spans_architectures_and_is_reproducible() -> None:
    recipe = read_recipe(RECIPE)
    cases = list(cases_of(recipe))
    assert cases == list(cases_of(recipe))
    assert len({case.model.name for case in cases}) > 100
    assert {case.hardware for case in cases} == set(recipe.hardware)


def test_the_same_case_gives_the_same_numbers() -> None:
    recipe = msgspec.structs.replace(read_recipe(RECIPE), concurrency=(2,))
    case = next(cases_of(recipe))
    assert rows_of(recipe, case) == rows_of(recipe, case)


def test_synthetic_models_are_drawn_within_bounds_and_fit_one_gpu_s_layout() -> None:
    for model in synthetic_models(50, np.random.default_rng(0)):
        assert model.total_params <= LARGEST_PARAMS
        assert model.experts is not None
        assert model.experts.top_k < model.experts.count
        assert not layout_violations(Layout(), model)


def test_a_row_carries_its_architecture_and_says_that_it_is_simulated(study: pd.DataFrame) -> None:
    assert set(study["provenance"]) == {"simulated"}
    for name, text in zip(study["model"], study["architecture"], strict=True):
        assert msgspec.json.decode(text, type=Model).name == name


@pytest.mark.parametrize("text", ["seed: 1", "cases: [", "seed: 1\nunknown: 2", "- 1"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(BadFile):
        read_recipe(path)


def test_an_empty_recipe_is_refused() -> None:
    with pytest.raises(BadValue):
        Recipe(
            seed=0,
            cases=1,
            models=(),
            synthetic_models=1,
            hardware=(),
            gpus=(2,),
            workloads=("decode-heavy",),
            concurrency=(1,),
        )
