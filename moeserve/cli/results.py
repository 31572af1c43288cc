"""`moeserve results` and `moeserve verify`: what a results directory holds, and is it whole?"""

from pathlib import Path
from typing import Annotated

import typer

from moeserve.cli.answer import say_answer_of
from moeserve.cli.run_table import SUMMARY, in_order
from moeserve.cli.show import Format, FormatOption, note, show

RESULTS_HELP = """Print the run table of a results directory, one row a run.

Example: moeserve results out --format csv > runs.csv
"""
VERIFY_HELP = """Re-read everything: hashes, counts, identities, and every summary from its rows.

Example: moeserve verify out
"""
SHOWN_REQUESTS = (
    "run_id", "request", "due_s", "sent_s", "first_token_s", "done_s", "input_tokens",
    "output_tokens", "status", "error_class",
)  # fmt: skip

DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A results directory.")]


def add_to(app: typer.Typer) -> None:
    app.command("results", help=RESULTS_HELP)(results)
    app.command("verify", help=VERIFY_HELP)(verify)


def results(
    directory: DirectoryArgument,
    requests: Annotated[
        bool, typer.Option("--requests", help="The request table: one row a request.")
    ] = False,
    output: FormatOption = Format.table,
) -> None:
    from orchestrator.table import request_table, run_rows

    if requests:
        table = request_table(directory)
        times = table["token_times_s"].to_pylist() if output is Format.json else None
        rows = table.drop_columns(["token_times_s"]).to_pylist()
        if times is not None:
            rows = [{**row, "token_times_s": each} for row, each in zip(rows, times, strict=True)]
        show(rows, output, columns=SHOWN_REQUESTS)
        return
    show(in_order(run_rows(directory)), output, columns=SUMMARY)
    if output is Format.table:
        say_answer_of(directory)


def verify(directory: DirectoryArgument, output: FormatOption = Format.table) -> None:
    from orchestrator.verify import verify_directory

    problems = verify_directory(directory)
    show([{"run_id": p.run_id, "problem": p.problem} for p in problems], output)
    if problems:
        note(f"{len(problems)} problems")
        raise typer.Exit(2)
    note("every published run is whole")
