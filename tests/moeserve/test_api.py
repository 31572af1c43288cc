"""The public API: typed frames, whole numbers, real times; and a name that something else hides."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import moeserve
from analysis.anova import AnovaModel, anova
from analysis.compare import ComparisonSpec, compare
from analysis.crossover import crossovers
from analysis.data.frame import load as load_floats
from analysis.data.kinds import as_counted, as_floats
from analysis.report.write import report_html
from analysis.tables.paper_tables import tables
from analysis.winners import winners
from catalog.errors import BadFile
from moeserve.hidden import PACKAGES

FIELDS = {
    "engine": "simulated",
    "models": "mixtral",
    "strategies": ["tp", "ep"],
    "workloads": "128:64:16",
    "concurrency": [1, 2, 4, 8],
    "num_runs": 6,
    "noise": 0.02,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("api") / "study"
    moeserve.run(result_dir=root, **FIELDS)
    return root


@pytest.mark.slow
def test_a_study_runs_and_comes_back_as_a_frame(results: Path) -> None:
    again = moeserve.run(results / "experiment.json", result_dir=results)
    assert len(again) == 48
    assert again.attrs["results"] == [str(results)]
    assert set(again["verdict"]) == {"valid"}


@pytest.mark.slow
def test_it_runs_where_an_event_loop_runs_already(results: Path) -> None:
    async def notebook() -> pd.DataFrame:
        return moeserve.run({**FIELDS, "num_runs": 6}, result_dir=results)

    assert len(asyncio.run(notebook())) == 48


def test_a_slip_in_a_field_is_told_as_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="Did you mean strategies"):
        moeserve.run(strategy="tp", result_dir=tmp_path / "x")


def test_counts_are_whole_and_times_are_times(results: Path) -> None:
    frame = moeserve.load(results)
    for name in ("num_gpus", "max_concurrency", "completed", "replicate", "total_output_tokens"):
        assert pd.api.types.is_integer_dtype(frame[name]), name
    assert frame["started_at"].dt.tz is not None
    assert frame["output_throughput"].dtype == float


def test_missing_counts_are_nullable_and_odd_times_stay_as_they_are() -> None:
    frame = pd.DataFrame(
        {
            "completed": [3.0, np.nan],
            "seed": [0.5, 1.0],
            "started_at": ["2026-01-01T00:00:00Z", "x"],
        }
    )
    made = as_counted(frame)
    assert str(made["completed"].dtype) == "Int64"
    assert made["seed"].dtype == float
    assert made["started_at"].tolist() == frame["started_at"].tolist()
    pd.testing.assert_frame_equal(as_floats(made), frame)


@pytest.mark.slow
def test_every_analysis_says_the_same_of_whole_numbers_and_of_floats(results: Path) -> None:
    floats, counted = load_floats(results), moeserve.load(results)
    spec = ComparisonSpec(reference="tp")
    assert compare(floats, spec).rows() == compare(counted, spec).rows()
    model = AnovaModel(factors=("max_concurrency", "strategy"))
    assert anova(floats, model).frame().equals(anova(counted, model).frame())
    assert [c.row() for c in crossovers(floats, spec)] == [
        c.row() for c in crossovers(counted, spec)
    ]
    pd.testing.assert_frame_equal(winners(floats), winners(counted), check_dtype=False)
    assert [t.flat() for t in tables(floats)] == [t.flat() for t in tables(counted)]
    assert str(moeserve.answer(floats)) == str(moeserve.answer(counted))
    assert len(report_html(counted)) == pytest.approx(len(report_html(floats)), abs=50)


@pytest.mark.slow
def test_answers_and_contrasts_print_themselves_and_have_frames(results: Path) -> None:
    found = moeserve.answer(results)
    assert "Mixtral-8x7B: by the model, use tp" in str(found)
    assert found._repr_markdown_().count("How sure") == 1
    assert found.frame()["kind"].tolist() == ["use"]
    compared = moeserve.compare(results, reference="tp", by=("model",))
    assert compared.frame()["verdict"].tolist() == ["worse"]
    assert "<table" in compared._repr_html_()
    table = moeserve.anova(results, factors=("max_concurrency", "strategy")).frame()
    assert table["factor"].tolist() == ["max_concurrency", "strategy"]


@pytest.mark.slow
def test_a_report_and_a_figure_go_where_they_are_asked_to(results: Path, tmp_path: Path) -> None:
    assert moeserve.report(results) == results / "report.html"
    assert moeserve.report([results], tmp_path / "r.html") == tmp_path / "r.html"
    figure = moeserve.plot(results, "throughput")
    assert figure._repr_html_ or figure.axes


def test_what_is_public_is_listed() -> None:
    assert set(moeserve.__all__) == set(dir(moeserve))
    assert all(getattr(moeserve, name) for name in moeserve.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        moeserve.nothing  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("name", ["analysis", "workloads", "catalog"])
@pytest.mark.parametrize("as_package", [False, True])
def test_a_file_that_hides_a_package_is_named_with_what_to_do(
    name: str, as_package: bool, tmp_path: Path
) -> None:
    file = tmp_path / name / "__init__.py" if as_package else tmp_path / f"{name}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    root = str(Path(moeserve.__file__).parents[1])
    told = subprocess.run(
        [sys.executable, "-c", "import moeserve; moeserve.load"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 1
    last = told.stderr.strip().splitlines()[-1]
    assert f"{file} hides moeserve's own package {name!r}" in last
    assert "rename it" in last


@pytest.mark.slow
def test_an_empty_folder_of_the_name_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "workloads").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "import moeserve, workloads.client; print(moeserve.load)"],
        cwd=tmp_path, check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_package_beside_moeserve_is_watched() -> None:
    root = Path(moeserve.__file__).parents[1]
    text = (root / "pyproject.toml").read_text()
    for name in PACKAGES:
        assert f'"{name}*"' in text
    assert text.count('*", "') >= len(PACKAGES)
