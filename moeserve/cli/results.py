"""`moeserve results` and `moeserve verify`: what a results directory holds, and is it whole?"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from catalog.errors import BadFile, BadValue
from moeserve.cli.answer import say_answer_of
from moeserve.cli.run_table import SUMMARY, in_order
from moeserve.cli.show import Format, FormatOption, note, show

RESULTS_HELP = """Print the run table of a results directory, one row a run.

Examples:

  moeserve results out --format csv > runs.csv

  moeserve results pack out -o study.tar.zst

  moeserve results compact out --dry-run

`compact` puts the small files of thousands of runs into few large ones, in place and whole at every
moment; every command reads them as before. It refuses while something is being measured.

`pack` makes one file of a finished study, which every command reads in the directory's place:
manifests, rows, environments, the last part of logs; no secrets, and no names of hosts and users
unless --with-names asks for them.

Of a mix, `--by part` gives a row for each run and class, which anova and compare read as well.
"""
VERIFY_HELP = """Re-read everything: hashes, counts, identities, and every summary from its rows.

Example: moeserve verify out
"""
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


class TableFormat(StrEnum):
    """How the run table and the request table are given."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


PACK, COMPACT = "pack", "compact"
DirectoryArgument = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="A results directory, or a packed study."),
]
WordsArgument = Annotated[
    list[str],
    typer.Argument(metavar="[pack|compact] DIR", help="A results directory, or a packed study."),
]


def add_to(app: typer.Typer) -> None:
    app.command("results", help=RESULTS_HELP)(results)
    app.command("verify", help=VERIFY_HELP)(verify)


def results(
    words: WordsArgument,
    requests: Annotated[
        bool, typer.Option("--requests", help="The request table: one row a request.")
    ] = False,
    by: Annotated[
        By | None, typer.Option("--by", help="One row for each part of a mix, or each turn.")
    ] = None,
    output: Annotated[
        TableFormat,
        typer.Option("--format", help="Print a table, JSON, CSV, or Parquet into a file or pipe."),
    ] = TableFormat.table,
    output_file: Annotated[
        Path | None, typer.Option("-o", "--output", help="Of pack: a file, as study.tar.zst.")
    ] = None,
    with_names: Annotated[
        bool, typer.Option("--with-names", help="Of pack: keep names of hosts and users.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Of compact: say what it would do, and do nothing.")
    ] = False,
) -> None:
    if words[0] == PACK and words[1:]:
        _pack(words[1:], output_file, with_names=with_names)
        return
    if words[0] == COMPACT and words[1:]:
        from moeserve.cli.compact import compact_directory

        if words[2:] or output_file or with_names or requests or by:
            raise BadValue("results compact", " ".join(words[1:]), "one DIR, and --dry-run at most")
        compact_directory(Path(words[1]), dry_run=dry_run)
        return
    if dry_run:
        raise BadValue("--dry-run", "", "with compact: results compact DIR --dry-run")
    _print(_one(words, output_file, with_names=with_names), output, requests=requests, by=by)


def _print(directory: Path, output: TableFormat, *, requests: bool, by: By | None) -> None:
    """Print one of the tables of a directory."""
    from orchestrator.table import run_rows

    if by is not None and (requests or output is TableFormat.parquet):
        allowed = "without --requests, whose rows name part and turn; as table, json or csv"
        raise BadValue("--by", by.value, allowed)
    if output is TableFormat.parquet:
        _write_parquet(directory, requests=requests)
        return
    form = Format(output.value)
    if by is not None:
        from orchestrator.by_class import class_rows

        show(class_rows(directory, by.value), form, columns=(*SHOWN_BY, by.value, *SHOWN_CLASS))
        return
    if requests:
        _print_requests(directory, form)
        return
    rows = run_rows(directory)
    show(in_order(rows), form, columns=SUMMARY)
    if form is Format.table:
        say_answer_of(directory, rows)


def _print_requests(directory: Path, form: Format) -> None:
    from orchestrator.table import request_table

    table = request_table(directory)
    times = table["token_times_s"].to_pylist() if form is Format.json else None
    rows = table.drop_columns(["token_times_s"]).to_pylist()
    if times is not None:
        rows = [{**row, "token_times_s": each} for row, each in zip(rows, times, strict=True)]
    show(rows, form, columns=SHOWN_REQUESTS)


def _write_parquet(directory: Path, *, requests: bool) -> None:
    """Write one of the tables to standard output, with its types."""
    if sys.stdout.isatty():
        raise BadValue("--format", "parquet", "into a file or pipe: > runs.parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    from orchestrator.table import request_table

    if requests:
        table = request_table(directory)
    else:
        from analysis.data.frame import load
        from analysis.data.kinds import as_counted

        frame = as_counted(load(directory)).drop(columns=["source_file", "source_row"])
        table = pa.Table.from_pandas(frame, preserve_index=False)
    file = pa.BufferOutputStream()
    pq.write_table(table, file)
    sys.stdout.buffer.write(file.getvalue())


def _one(words: list[str], output: Path | None, *, with_names: bool) -> Path:
    """The one directory to print, unpacked if it is a packed study."""
    from orchestrator.results.archive import opened

    if words[1:] or output or with_names:
        given = " ".join(words[1:]) or "-o or --with-names"
        raise BadValue(
            "results",
            given,
            "one DIR; or: results pack DIR -o FILE.tar.zst; or: results compact DIR",
        )
    return opened(Path(words[0]))


def _pack(directories: list[str], output: Path | None, *, with_names: bool) -> None:
    """One file of a study that is whole."""
    from orchestrator.results.archive import pack
    from orchestrator.results.names import Names
    from orchestrator.verify import verify_directory

    if directories[1:] or output is None:
        raise BadValue("results pack", " ".join(directories), "one DIR and -o FILE.tar.zst")
    root = Path(directories[0])
    if problems := verify_directory(root):
        first = problems[0]
        raise BadFile(root, f"is not whole: {first.run_id}: {first.problem}; see moeserve verify")
    count = pack(root, output, Names.asked(root, kept=with_names))
    names = "with names of hosts and users" if with_names else "without names of hosts and users"
    note(f"{output}: {count} files, {output.stat().st_size:,} bytes, {names}")


def verify(directory: DirectoryArgument, output: FormatOption = Format.table) -> None:
    from orchestrator.results.archive import opened
    from orchestrator.verify import checked_and_bare, verify_directory

    root = opened(directory)
    problems = verify_directory(root)
    show([{"run_id": p.run_id, "problem": p.problem} for p in problems], output)
    if problems:
        note(f"{len(problems)} problems")
        raise typer.Exit(2)
    checked, bare = checked_and_bare(root)
    if bare:
        note(f"{bare} published runs have no request rows: nothing shows their figures right")
    note(f"every published run{' with rows' if bare else ''} is whole: {checked}")
