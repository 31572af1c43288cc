"""Results on standard output: a table for people, JSON or CSV for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from catalog.csv_text import csv_text
from catalog.plain_text import escaped_json, message, plain
from catalog.secrets import redact
from orchestrator.results.record import ColumnValue, Row

WIDE = 400
"""Columns when the output is no terminal: a pipe must not get folded rows."""


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
    if output is Format.json:
        print_json(listed)
    elif output is Format.csv:
        sys.stdout.write(csv_text(listed))
    else:
        names = columns or _names(listed)
        headed = names if isinstance(names, Mapping) else {name: name for name in names}
        print_table(listed, headed)


def print_json(value: object) -> None:
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    sys.stdout.write(escaped_json(text) + "\n")


def print_table(rows: Sequence[Row], columns: Mapping[str, str]) -> None:
    """Print a table; what is the same in all of several rows stands once, above it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts = {name: [shown(row.get(name)) for row in rows] for name in columns}
    filled = {name: text for name, text in texts.items() if any(text)} or texts
    same = {n for n, text in filled.items() if len(rows) > 1 and len(set(text)) == 1}
    if len(rows) == 1 and sys.stdout.isatty():
        print_one(columns, texts)
        return
    # In a pipe no row may be folded, and none looked for above the table.
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    if same and console.is_terminal and len(filled) > len(same):
        console.print(
            Text(" · ".join(f"{plain(columns[n])} {filled[n][0]}" for n in filled if n in same))
        )
        filled = {name: text for name, text in filled.items() if name not in same}
    table = Table(header_style="bold")
    for name in filled:
        numeric = any(isinstance(row.get(name), int | float) for row in rows)
        table.add_column(Text(plain(columns[name])), justify="right" if numeric else "left")
    for number in range(len(rows)):
        table.add_row(*[Text(text[number]) for text in filled.values()])
    console.print(table)


def print_one(columns: Mapping[str, str], texts: Mapping[str, Sequence[str]]) -> None:
    """Print a single row down the page: across it would not fit a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    for name, heading in columns.items():
        if texts[name][0]:
            table.add_row(Text(plain(heading), style="bold"), Text(texts[name][0]))
    Console().print(table)


def shown(value: ColumnValue) -> str:
    """Format one value for people; what was not measured stays empty."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return plain(str(value))


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def note(text: str) -> None:
    """Say something beside the result: on standard error, its secrets masked."""
    typer.echo(message(redact(text)), err=True)
