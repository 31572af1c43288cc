"""Runs handed on: nothing that was not measured becomes a number, and nothing is logged twice."""

import json
import math
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import moeserve
from catalog.errors import BadValue, MissingExtra
from moeserve.cli import main
from moeserve.exports.mlflow import MOST_AT_ONCE, export_to_mlflow
from moeserve.exports.otlp import nanoseconds, otlp_metrics
from moeserve.exports.prometheus import prometheus_text
from orchestrator.table import run_rows

SAMPLE = re.compile(r'^(moeserve_\w+)\{((?:\w+="(?:[^"\\\n]|\\.)*",?)+)\} (\S+)$')


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export") / "out"
    moeserve.run(
        result_dir=root, engine="simulated", models="tiny-olmoe", strategies=["tp", "ep"],
        workloads="8:4:4", concurrency=[1, 2],
    )  # fmt: skip
    return root


def test_prometheus_gets_one_sample_a_run_and_metric_with_its_condition(results: Path) -> None:
    rows = run_rows(results)
    lines = prometheus_text(rows).splitlines()
    samples = [SAMPLE.match(line) for line in lines if not line.startswith("#")]
    assert all(samples)
    of_throughput = [s for s in samples if s and s[1] == "moeserve_output_throughput"]
    assert sorted(float(s[3]) for s in of_throughput) == sorted(
        float(str(row["output_throughput"])) for row in rows
    )
    assert all('provenance="simulated"' in s[2] for s in of_throughput)
    assert len({line for line in lines if line.startswith("# TYPE")}) == len(
        {s[1] for s in samples if s}
    )


def test_labels_cannot_leave_their_quotes() -> None:
    row = {"run_id": 'a"} evil 1\n\\', "verdict": "valid", "output_throughput": 1.5}
    (line,) = [t for t in prometheus_text([row]).splitlines() if not t.startswith("#")]
    found = SAMPLE.match(line)
    assert found
    assert found[3] == "1.5"


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "", "fast", True])
def test_what_was_not_measured_is_absent(value: Any) -> None:
    row = {"run_id": "a", "output_throughput": value, "completed": 3}
    assert "output_throughput" not in prometheus_text([row])
    names = [
        m["name"] for m in otlp_metrics([row])["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    ]
    assert names == ["moeserve.completed"]


def test_opentelemetry_gets_points_at_the_time_of_each_run(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["export", str(results), "--to", "otlp"])
    assert end.value.code == 0
    (resource,) = json.loads(capsys.readouterr().out)["resourceMetrics"]
    (scope,) = resource["scopeMetrics"]
    by_name = {metric["name"]: metric for metric in scope["metrics"]}
    throughput = by_name["moeserve.output_throughput"]
    assert throughput["unit"] == "{token}/s"
    rows = {str(row["run_id"]): row for row in run_rows(results)}
    for point in throughput["gauge"]["dataPoints"]:
        own = {a["key"]: a["value"]["stringValue"] for a in point["attributes"]}
        row = rows[own["run_id"]]
        assert point["asDouble"] == row["output_throughput"]
        at = pd.Timestamp(str(row["started_at"]))
        assert abs(int(point["timeUnixNano"]) - at.value) < 1_000


def test_a_time_nobody_knows_is_unknown_and_not_now() -> None:
    assert nanoseconds("yesterday") == nanoseconds("") == nanoseconds("2026-01-01T00:00:00") == 0
    assert nanoseconds("1970-01-01T00:00:01Z") == 10**9


class MlflowError(Exception):
    """What MLflow raises."""


@dataclass
class Tracking:
    """An MLflow store in memory: what this export uses of `MlflowClient`, and its limits."""

    runs: list[SimpleNamespace] = field(default_factory=list)
    experiments: dict[str, str] = field(default_factory=dict)
    broken: bool = False

    def get_experiment_by_name(self, name: str) -> Any:
        if self.broken:
            raise MlflowError("no answer")
        number = self.experiments.get(name)
        return SimpleNamespace(experiment_id=number) if number else None

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, str(len(self.experiments) + 1))

    def search_runs(self, experiments: list[str], page_token: str | None) -> Any:
        own = [run for run in self.runs if run.place in experiments]
        start = int(page_token or 0)

        class Page(list[Any]):
            token = str(start + 2) if start + 2 < len(own) else ""

        return Page(own[start : start + 2])

    def create_run(self, place: str, start_time: int, tags: dict[str, str], run_name: str) -> Any:
        data = SimpleNamespace(tags=tags, metrics={}, params={})
        info = SimpleNamespace(run_id=str(len(self.runs)), name=run_name, start_time=start_time)
        self.runs.append(SimpleNamespace(place=place, info=info, data=data, end=None))
        return self.runs[-1]

    def log_batch(self, run_id: str, metrics: list[Any], params: list[Any]) -> None:
        assert len(metrics) <= 1000
        assert len(params) <= MOST_AT_ONCE
        data = self.runs[int(run_id)].data
        data.metrics |= {each.key: each.value for each in metrics}
        data.params |= {each.key: each.value for each in params}

    def set_terminated(self, run_id: str, end_time: int | None) -> None:
        self.runs[int(run_id)].end = end_time


@pytest.fixture
def tracking(monkeypatch: pytest.MonkeyPatch) -> Tracking:
    store = Tracking()
    module = ModuleType("mlflow")
    module.MlflowClient = lambda tracking_uri: store  # type: ignore[attr-defined]
    module.exceptions = SimpleNamespace(MlflowException=MlflowError)  # type: ignore[attr-defined]
    module.entities = SimpleNamespace(  # type: ignore[attr-defined]
        Metric=lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value),
        Param=lambda key, value: SimpleNamespace(key=key, value=value),
    )
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return store


def test_mlflow_gets_each_run_once(results: Path, tracking: Tracking) -> None:
    rows = run_rows(results)
    assert export_to_mlflow(rows[:3], "study", None) == 3
    assert export_to_mlflow(rows, "study", None) == 1
    assert export_to_mlflow(rows, "study", None) == 0
    assert len(tracking.runs) == 4
    for run, row in zip(tracking.runs, rows, strict=True):
        assert run.data.tags["moeserve.run_id"] == row["run_id"]
        assert run.data.tags["moeserve.provenance"] == "simulated"
        assert run.data.metrics["output_throughput"] == row["output_throughput"]
        assert run.data.params["strategy"] == row["strategy"]
        assert run.end > run.info.start_time


def test_a_tracking_server_that_does_not_answer_is_one_line(
    results: Path, tracking: Tracking
) -> None:
    tracking.broken = True
    with pytest.raises(BadValue, match=r"--tracking-uri.*no answer"):
        export_to_mlflow(run_rows(results), "study", "http://127.0.0.1:1")


def test_without_mlflow_its_install_line_names_this_interpreter(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtra, match=re.escape(sys.executable)) as caught:
        export_to_mlflow(run_rows(results), "study", None)
    assert "-m pip install mlflow-skinny" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("requests", [False, True])
def test_parquet_keeps_every_row_with_its_types(
    results: Path, requests: bool, tmp_path: Path
) -> None:
    command = ["results", str(results), "--format", "parquet", *["--requests"] * requests]
    with (tmp_path / "t.parquet").open("wb") as file:
        subprocess.run([sys.executable, "-m", "moeserve", *command], stdout=file, check=True)
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.num_rows == (16 if requests else 4)
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    if requests:
        assert kinds["token_times_s"].startswith("list<")
    else:
        assert (kinds["max_concurrency"], kinds["output_throughput"]) == ("int64", "double")
        assert kinds["started_at"].startswith("timestamp")
        again = moeserve.load(tmp_path / "t.parquet")
        assert (
            again["output_throughput"].tolist()
            == moeserve.load(results)["output_throughput"].tolist()
        )


def test_a_flag_of_another_reader_is_refused(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", str(results), "--to", "prometheus", "--experiment", "mine"])
    assert ended.value.code == 2
    assert "with --to mlflow" in capsys.readouterr().err
