"""Results on standard output: a table for people, JSON or CSV for programs."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from catalog.csv_text import csv_text
from catalog.plain_text import escaped_json, message
from catalog.secrets import redact
from moeserve.cli.pipes import reader_may_leave
from moeserve.cli.table import print_table
from orchestrator.results.record import Row

# What people read over a column of the run table; programs get every column by its own name.
HEADINGS = {
    "num_gpus": "GPUs",
    "gpu_type": "GPU",
    "hardware": "GPU",
    "max_concurrency": "concurrency",
    "effective_concurrency": "in flight",
    "request_rate": "req/s",
    "low_output_throughput": "low",
    "high_output_throughput": "high",
    "tied_with": "tied with",
    "output_throughput": "tok/s",
    "output_throughput_per_gpu": "tok/s/GPU",
    "mean_ttft_ms": "TTFT ms",
    "p99_ttft_ms": "p99 TTFT ms",
    "mean_itl_ms": "ITL ms",
    "mean_e2el_ms": "E2E ms",
    "request_goodput": "good req/s",
    "verdict_reasons": "reasons",
    "verdict_notes": "notes",
    "served_model": "asked for",
    "answered_by": "answered by",
    "request_form": "asked as",
    "kv_tokens_capacity": "KV tokens",
    "bound": "bound by",
    "why": "infeasible because",
}


class Format(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"
    csv = "csv"


FormatOption = Annotated[
    Format, typer.Option("--format", help="Print a table, JSON (an array of flat objects) or CSV.")
]


def headed(*names: str) -> dict[str, str]:
    """Pick columns, each with the heading people read over it."""
    return {name: HEADINGS.get(name, name) for name in names}


def show(
    rows: Iterable[Row], output: Format, *, columns: Mapping[str, str] | Sequence[str] | None = None
) -> None:
    """Print rows; `columns` picks (and heads) those of the table, JSON and CSV have all."""
    listed = list(rows)
    with reader_may_leave(sys.stdout):
        if output is Format.json:
            print_json(listed)
        elif output is Format.csv:
            sys.stdout.write(csv_text(listed))
        elif names := columns or _names(listed):
            _table(listed, names if isinstance(names, Mapping) else headed(*names))
        sys.stdout.flush()


def _table(rows: Sequence[Row], columns: Mapping[str, str]) -> None:
    if dropped := print_table(rows, columns):
        count = f"{len(dropped)} column{'s need' if len(dropped) > 1 else ' needs'}"
        note(f"{count} a wider terminal, or --format csv: {', '.join(dropped)}")


def print_json(value: object) -> None:
    ascii_only = not (sys.stdout.encoding or "utf").lower().startswith("utf")
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=ascii_only)
    sys.stdout.write(escaped_json(text) + "\n")


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def note(text: str) -> None:
    """Say something beside the result: on standard error, its secrets masked."""
    with reader_may_leave(sys.stderr):
        typer.echo(in_width(message(redact(text))), err=True)


def in_width(text: str) -> str:
    """Fold lines between words where standard error is a terminal; paths and names stay whole."""
    if not sys.stderr.isatty():
        return text
    width = max(20, shutil.get_terminal_size().columns)
    return "\n".join(
        line
        if len(line) <= width
        else textwrap.fill(
            line, width, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
        )
        for line in text.splitlines()
    )
