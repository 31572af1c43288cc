"""What a part of the hour says: tables of figures, each with the sentences that go with it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- benchmarks/gpu: tables -->", "<!-- benchmarks/gpu: end -->"
Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """One table; a cell that was not measured is None."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> str:
        return json.dumps(asdict(self))


def table_of(given: Mapping[str, Any]) -> Table:
    return Table(
        title=given["title"],
        columns=tuple(given["columns"]),
        rows=tuple(map(tuple, given["rows"])),
        notes=tuple(given["notes"]),
    )


def joined(tables: Iterable[Table]) -> tuple[Table, ...]:
    """Join tables of one title, which were told in pieces: their rows, and each note once."""
    found: dict[str, Table] = {}
    for table in tables:
        if (before := found.get(table.title)) is not None:
            notes = tuple(dict.fromkeys((*before.notes, *table.notes)))
            table = replace(before, rows=(*before.rows, *table.rows), notes=notes)
        found[table.title] = table
    return tuple(found.values())


def markdown(table: Table) -> str:
    lines = [f"**{table.title}**", ""]
    if table.rows:
        lines += [_line(table.columns), "|" + "---|" * len(table.columns)]
        lines += [_line([_cell(value) for value in row]) for row in table.rows]
        lines.append("")
    lines += [*(f"- {note}" for note in table.notes), *([""] if table.notes else [])]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Value) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "\\|")


def insert(page: Path, tables: Sequence[str]) -> None:
    """Put the tables between the page's two marks; ValueError where it has none."""
    before, begun, rest = page.read_text().partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{page}: no lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n" + "\n".join(tables) + f"\n{END}{after}")
