"""`moeserve results` and `moeserve verify`: what a results directory holds, and is it whole?"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from catalog.errors import BadValue
from moeserve.cli.show import Format, FormatOption, note, show

RESULTS_HELP = """Print the run table of a results directory, one row a run.

Example: moeserve results out --format csv > runs.csv

Of a mix, `--by part` gives a row for each run and class, which anova and compare read as well.
"""
VERIFY_HELP = """Re-read everything: hashes, counts, identities, and every summary from its rows.

Example: moeserve verify out
"""
SHOWN = (
    "run_id", "provenance", "model", "strategy", "num_gpus", "gpu_type", "workload",
    "max_concurrency", "request_rate", "replicate", "completed", "failed", "output_throughput",
    "mean_ttft_ms", "mean_itl_ms", "mean_e2el_ms", "verdict", "verdict_reasons",
)  # fmt: skip
SHOWN_REQUESTS = (
    "run_id", "request", "due_s", "sent_s", "first_token_s", "done_s", "input_tokens",
    "output_tokens", "status", "error_class",
)  # fmt: skip

SHOWN_BY = (
    "run_id", "provenance", "model", "strategy", "workload", "max_concurrency", "request_rate",
)  # fmt: skip
SHOWN_CLASS = (
    "requests", "completed", "output_throughput", "mean_input_tokens", "mean_output_tokens",
    "mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "mean_e2el_ms", "mean_ttft_per_input_token_ms",
    "mean_e2el_per_output_token_ms", "cached_token_share", "slo_attainment",
)  # fmt: skip


class By(StrEnum):
    """What requests are told apart by."""

    part = "part"
    turn = "turn"


DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A results directory.")]


def add_to(app: typer.Typer) -> None:
    app.command("results", help=RESULTS_HELP)(results)
    app.command("verify", help=VERIFY_HELP)(verify)


def results(
    directory: DirectoryArgument,
    requests: Annotated[
        bool, typer.Option("--requests", help="The request table: one row a request.")
    ] = False,
    by: Annotated[
        By | None, typer.Option("--by", help="One row for each part of a mix, or each turn.")
    ] = None,
    output: FormatOption = Format.table,
) -> None:
    from orchestrator.table import request_table, run_rows

    if by is not None:
        if requests:
            allowed = "without --requests, whose rows name their part and turn"
            raise BadValue("--by", by.value, allowed)
        from orchestrator.by_class import class_rows

        show(class_rows(directory, by.value), output, columns=(*SHOWN_BY, by.value, *SHOWN_CLASS))
        return

    if requests:
        table = request_table(directory)
        times = table["token_times_s"].to_pylist() if output is Format.json else None
        rows = table.drop_columns(["token_times_s"]).to_pylist()
        if times is not None:
            rows = [{**row, "token_times_s": each} for row, each in zip(rows, times, strict=True)]
        show(rows, output, columns=SHOWN_REQUESTS)
        return
    show(run_rows(directory), output, columns=SHOWN)


def verify(directory: DirectoryArgument, output: FormatOption = Format.table) -> None:
    from orchestrator.verify import verify_directory

    problems = verify_directory(directory)
    show([{"run_id": p.run_id, "problem": p.problem} for p in problems], output)
    if problems:
        note(f"{len(problems)} problems")
        raise typer.Exit(2)
    note("every published run is whole")
