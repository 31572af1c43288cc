"""A small training study on the simulated engine, run once."""

import pandas as pd
import pytest

from analysis.predict import forest
from analysis.predict.cases import Cases
from analysis.predict.read import read_cases
from analysis.predict.study import Recipe, run_study

RECIPE = Recipe(
    seed=7,
    cases=60,
    models=("OLMoE-1B-7B",),
    synthetic_models=15,
    hardware=("A100-80GB", "H100", "MI300X"),
    gpus=(2, 4),
    workloads=("128:32:auto", "512:16:auto"),
    concurrency=(1, 4, 16),
)


@pytest.fixture(scope="session")
def study() -> pd.DataFrame:
    return pd.DataFrame(run_study(RECIPE, workers=1))


@pytest.fixture(scope="session")
def cases(study: pd.DataFrame) -> Cases:
    return read_cases(study)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as a test needs."""
    monkeypatch.setattr(forest, "TREES", 20)
