"""A table for people: what is the same in all rows once above it, the rest as wide as it fits."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING

from catalog.plain_text import plain
from orchestrator.results.record import ColumnValue, Row

if TYPE_CHECKING:
    from moeserve.cli.fit import Column, Fitted

GROUPED_FROM = 9_999.5
"""Numbers from which on thousands are set apart, and fractions say nothing."""

MOST_DRAWN = 300
"""Rows up to which Rich draws a table: it takes a millisecond for each."""


def print_table(rows: Sequence[Row], columns: Mapping[str, str]) -> Sequence[str]:
    """Print a table; return the headings of the columns that did not fit the terminal.

    In a pipe nothing is folded or left out, and nothing stands above the table.
    """
    from rich.text import Text

    from moeserve.cli.console import Console
    from moeserve.cli.fit import fit, lifted

    found = _columns(rows, columns)
    on_terminal = sys.stdout.isatty()
    if len(rows) == 1 and on_terminal:
        _print_one(found)
        return ()
    width = Console().width if on_terminal else None
    same = {each.name for each in found if len(rows) > 1 and len(set(each.cells)) == 1}
    if on_terminal and same and len(found) > len(same):
        above = [f"{each.heading} {each.cells[0]}" for each in found if each.name in same]
        Console().print(Text(" · ".join(above)))
        found = [each for each in found if each.name not in same]
    heads = lifted(found, width)
    fitted = fit([each for each in found if each.name not in heads], width)
    for title, part in _parts([each for each in found if each.name in heads], len(rows)):
        if title:
            Console().print(Text(title, style="bold"))
        _print(fitted, part)
    for text in fitted.notes:
        Console().print(Text(text))
    return [each.heading for each in fitted.dropped]


def _parts(heads: "Sequence[Column]", rows: int) -> Iterator[tuple[str, range]]:
    """Consecutive rows with the same labels, and those labels."""
    titles = [" · ".join(each.cells[row] for each in heads) for row in range(rows)]
    start = 0
    for row in range(1, rows + 1):
        if row == rows or titles[row] != titles[start]:
            yield (titles[start] if rows else ""), range(start, row)
            start = row
    if not rows:
        yield "", range(0)


def shown(value: ColumnValue) -> str:
    """Format one value for people; what was not measured stays empty."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if abs(value) >= GROUPED_FROM:
            return f"{value:,.0f}"
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    return plain(str(value))


def _columns(rows: Sequence[Row], columns: Mapping[str, str]) -> "list[Column]":
    """The columns that hold anything; all of them where none does."""
    from moeserve.cli.fit import Column

    made = []
    # Row by row: of thousands, a look at each for every column would leave the cache each time.
    held = list(zip(*([*map(row.get, columns)] for row in rows), strict=True))
    for (name, heading), values in zip(columns.items(), held or [()] * len(columns), strict=True):
        numeric = any(isinstance(value, int | float) for value in values)
        made.append(Column(name, plain(heading), _shown(values), numeric))
    return [each for each in made if any(each.cells)] or made


def _shown(values: Sequence[ColumnValue]) -> list[str]:
    """Format a column; most texts are those of many rows."""
    if not set(map(type, values)) <= {str, type(None)}:  # True and 1 are one key, not one text
        return [*map(shown, values)]
    each = {value: shown(value) for value in set(values)}
    return [*map(each.__getitem__, values)]


def _print(fitted: "Fitted", rows: range) -> None:
    from rich.table import Table
    from rich.text import Text

    from moeserve.cli.console import Console
    from moeserve.cli.fit import BESIDE, BORDER, wrapped

    table = Table(header_style="bold")
    for each, width in fitted.kept:
        table.add_column(
            Text("\n".join(wrapped(each.heading, width))),
            justify="right" if each.is_numeric else "left",
            width=width,
            no_wrap=True,
        )
    total = BORDER + sum(width + BESIDE for _, width in fitted.kept)
    console = Console(width=max(total, 1))
    drawn = rows if len(rows) <= MOST_DRAWN else rows[:1]
    for row in drawn:
        table.add_row(*map(Text, ("\n".join(cell) for cell in _cells(fitted, row))))
    if len(drawn) == len(rows):
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    *above, last = captured.get().splitlines()
    side = above[-1][0]
    sys.stdout.write("\n".join([*above, *_lines(fitted, rows[1:], side), last]) + "\n")


def _cells(fitted: "Fitted", row: int) -> list[list[str]]:
    """Lines of each cell of a row."""
    return [_folded(each, each.cells[row], width) for each, width in fitted.kept]


def _folded(column: "Column", cell: str, width: int) -> list[str]:
    from moeserve.cli.fit import wrapped

    return [cell] if column.is_numeric else wrapped(cell, width)


def _lines(fitted: "Fitted", rows: range, side: str) -> Iterator[str]:
    """Lines of many rows, character for character as Rich draws them, in a fraction of its time."""
    blanks = [" " * width for _, width in fitted.kept]
    for cells in zip(*(_padded(each, width, rows) for each, width in fitted.kept), strict=True):
        for line in zip_longest(*cells):
            texts = (text or blank for text, blank in zip(line, blanks, strict=True))
            yield f"{side} {f' {side} '.join(texts)} {side}"


def _padded(column: "Column", width: int, rows: range) -> Iterator[list[str]]:
    """Lines of a column's cells, as wide as it; what stands there often is laid out once."""
    from rich.cells import cell_len

    @cache
    def laid_out(cell: str) -> list[str]:
        lines = _folded(column, cell, width)
        blanks = [" " * (width - cell_len(text)) for text in lines]
        pairs = (
            zip(blanks, lines, strict=True)
            if column.is_numeric
            else zip(lines, blanks, strict=True)
        )
        return ["".join(pair) for pair in pairs]

    return map(laid_out, column.cells[rows.start : rows.stop])


def _print_one(columns: "Sequence[Column]") -> None:
    """Print a single row down the page: across it would not fit a terminal."""
    from rich.table import Table
    from rich.text import Text

    from moeserve.cli.console import Console

    table = Table(show_header=False)
    for each in columns:
        if each.cells[0]:
            table.add_row(Text(each.heading, style="bold"), Text(each.cells[0]))
    Console().print(table)
