"""Runs as runs of an MLflow experiment: conditions as parameters, measurements as metrics."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from catalog.errors import BadValue, MissingExtra
from moeserve.exports.metrics import as_text, conditions, is_told, metrics
from moeserve.exports.otlp import nanoseconds
from orchestrator.results.record import Row

TAGS = ("run_id", "provenance", "verdict", "verdict_reasons", "replicate", "configuration_text")
TAG = "moeserve."
MOST_AT_ONCE = 100
"""Parameters that MLflow takes in one request; it takes more metrics."""
LONGEST_PARAMETER = 6000
"""Characters of a parameter's value."""


def export_to_mlflow(rows: Sequence[Row], experiment: str, tracking_uri: str | None) -> int:
    """Log each run that the experiment does not hold yet; return how many those are.

    Raises MissingExtra where MLflow is not installed, BadValue where its server does not answer.
    """
    try:
        mlflow = import_module("mlflow")
    except ModuleNotFoundError:
        raise MissingExtra("export --to mlflow", package="mlflow-skinny") from None
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    try:
        found = client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else client.create_experiment(experiment)
        there = _logged(client, place)
        new = [row for row in rows if str(row["run_id"]) not in there]
        for row in new:
            _log(mlflow, client, place, row)
    except mlflow.exceptions.MlflowException as error:
        raise BadValue("--tracking-uri", tracking_uri, f"an MLflow store: {error}") from error
    return len(new)


def _logged(client: Any, place: str) -> set[str]:
    """Ids of the runs that the experiment has."""
    ids: set[str] = set()
    token = None
    while True:
        page = client.search_runs([place], page_token=token)
        ids |= {str(run.data.tags.get(f"{TAG}run_id")) for run in page}
        token = page.token
        if not token:
            return ids


def _log(mlflow: Any, client: Any, place: str, row: Row) -> None:
    started_ms = nanoseconds(str(row.get("started_at") or "")) // 1_000_000 or None
    tags = {f"{TAG}{name}": as_text(row[name]) for name in TAGS if is_told(row.get(name))}
    name = f"{row['model']} {row['strategy']} {row['workload']}"
    run = client.create_run(place, start_time=started_ms, tags=tags, run_name=name)
    entities = mlflow.entities
    values = [entities.Metric(name, value, started_ms or 0, 0) for name, value in metrics(row)]
    parameters = [
        entities.Param(name, text[:LONGEST_PARAMETER]) for name, text in conditions(row).items()
    ]
    for start in range(0, max(len(values), len(parameters)), MOST_AT_ONCE):
        part = slice(start, start + MOST_AT_ONCE)
        client.log_batch(run.info.run_id, metrics=values[part], params=parameters[part])
    duration_s = row.get("duration")
    ended = started_ms + round(float(duration_s) * 1e3) if started_ms and duration_s else None
    client.set_terminated(run.info.run_id, end_time=ended)
