"""`moeserve export`: runs for Prometheus, OpenTelemetry and MLflow."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from moeserve.cli.inputs import refuse_given
from moeserve.cli.show import note, print_json

HELP = """Hand runs on: Prometheus text, OpenTelemetry's JSON, or runs of MLflow.

Examples:

  moeserve export out --to prometheus > /var/lib/node_exporter/moeserve.prom

  moeserve export out --to otlp | curl --json @- http://127.0.0.1:4318/v1/metrics

  moeserve export out --to mlflow --tracking-uri http://127.0.0.1:5000
"""


class Target(StrEnum):
    """Who is to read the runs."""

    prometheus = "prometheus"
    otlp = "otlp"
    mlflow = "mlflow"


def add_to(app: typer.Typer) -> None:
    app.command("export", help=HELP)(export)


def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A results directory, or a packed study.")
    ],
    to: Annotated[Target, typer.Option("--to", help="Who is to read them.")],
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", help="MLflow: the experiment they become runs of; moeserve."),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option("--tracking-uri", help="MLflow: its server; default as MLflow finds it."),
    ] = None,
) -> None:
    from orchestrator.results.archive import opened
    from orchestrator.table import run_rows

    if to is not Target.mlflow:
        mlflows = {"--experiment": experiment, "--tracking-uri": tracking_uri}
        refuse_given(mlflows, f"with --to mlflow, not with {to}")
    rows = run_rows(opened(directory))
    if to is Target.prometheus:
        from moeserve.exports.prometheus import prometheus_text

        sys.stdout.write(prometheus_text(rows))
    elif to is Target.otlp:
        from moeserve.exports.otlp import otlp_metrics

        print_json(otlp_metrics(rows))
    else:
        from moeserve.exports.mlflow import export_to_mlflow

        experiment = experiment or "moeserve"
        new = export_to_mlflow(rows, experiment, tracking_uri)
        note(f"{new} of {len(rows)} runs logged, the others were there; experiment {experiment}")
