"""Results on standard output: a table for people, JSON or CSV for programs."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

Value = float | int | str | bool | None
Row = Mapping[str, Value]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")
WIDE = 400
"""Columns when the output is no terminal: a pipe must not get folded rows."""


class Format(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"
    csv = "csv"


FormatOption = Annotated[
    Format, typer.Option("--format", help="Print a table, JSON (an array of flat objects) or CSV.")
]


def show(
    rows: Iterable[Row], output: Format, *, columns: Sequence[str] | None = None, title: str = ""
) -> None:
    """Print rows; `columns` picks those of the table, JSON and CSV have all."""
    listed = list(rows)
    if output is Format.json:
        print_json(listed)
    elif output is Format.csv:
        print_csv(listed)
    else:
        print_table(listed, columns, title)


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def print_csv(rows: Sequence[Row]) -> None:
    """Write RFC 4180; text that a spreadsheet would take for a formula gets a quote before it."""
    names = _names(rows)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])


def print_table(rows: Sequence[Row], columns: Sequence[str] | None, title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = list(columns or _names(rows))
    table = Table(title=Text(title) if title else None, header_style="bold")
    for name in names:
        numeric = any(isinstance(row.get(name), int | float) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*[Text(shown(row.get(name))) for name in names])
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(table)


def shown(value: Value) -> str:
    """Format one value for people; what was not measured stays empty."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return "".join(char if char.isprintable() else " " for char in str(value))


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: Value) -> Value:
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return value


def note(text: str) -> None:
    """Say something beside the result: on standard error."""
    typer.echo(text, err=True)
