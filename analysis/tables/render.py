"""Tables as text: terminal, Markdown and LaTeX from the same cells."""

import math
import re
from collections.abc import Sequence

from analysis.tables.cells import TableCell
from analysis.tables.table import Table

_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "–": "--",
}


def number(value: float | None, *, digits: int = 4) -> str:
    """A number for people: significant digits, «–» for what is not known."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    scientific = f"{value:.{digits - 1}e}"
    exponent = int(scientific.partition("e")[2])
    if not -4 <= exponent < digits + 3:
        return f"{value:.{digits - 1}g}"
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def cell_text(cell: TableCell, unit: str, *, paper: bool) -> str:
    """`672.4 [640.1, 704.7] n=21`, and the paper's number behind it."""
    if cell.value is None:
        text = "–"
    else:
        text = number(cell.value) + ("%" if unit == "%" else "")
        if cell.low is not None:
            text += f" [{number(cell.low)}, {number(cell.high)}]"
        text += f" n={cell.n}"
    return f"{text} (paper {number(cell.paper)})" if paper and cell.paper else text


def grid_of(table: Table, *, paper: bool) -> tuple[list[str], list[list[str]]]:
    """Heading and lines of a table as text."""
    heading = [table.corner, *table.columns]
    lines = [
        [
            name,
            *(
                cell_text(cell, "%" if column == "EP/TP" else table.unit, paper=paper)
                for column, cell in zip(table.columns, cells, strict=True)
            ),
        ]
        for name, cells in table.rows
    ]
    return heading, lines


def caption(table: Table) -> str:
    """What the table shows and what its intervals are."""
    over = sorted({cell.over for _, cells in table.rows for cell in cells if cell.over})
    level = f"{100 * table.level:g} %"
    basis = (
        f"; {level} intervals over {' and '.join(over)}"
        if over
        else "; no interval (one run each, or copies)"
    )
    kind = "" if table.provenance == "measured" else f" ({table.provenance})"
    return f"Table {table.number}{kind}: {table.title}, {table.unit}{basis}"


def terminal(table: Table, *, paper: bool = False) -> str:
    """Aligned columns; control characters in names are dropped."""
    heading, lines = grid_of(table, paper=paper)
    return "\n".join([plain(caption(table)), aligned(heading, lines), *map(plain, table.notes)])


def aligned(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, numbers to the right of the first column."""
    rows = [[plain(cell) for cell in row] for row in (heading, *lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([texts[0], "  ".join("-" * width for width in widths), *texts[1:]])


def plain(text: str) -> str:
    """Text without control characters: a name from a file must not drive the terminal."""
    return "".join(char for char in text.replace("\n", " ") if char.isprintable())


def markdown(table: Table, *, paper: bool = False) -> str:
    """A pipe table under its caption."""
    heading, lines = grid_of(table, paper=paper)
    notes = [f"- {_markdown_safe(note)}" for note in table.notes]
    return "\n".join([f"**{caption(table)}**", "", pipes(heading, lines), "", *notes]).rstrip()


def pipes(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [[_markdown_safe(cell) for cell in row] for row in (heading, *lines)]
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def _markdown_safe(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", plain(text))


def latex(table: Table, *, paper: bool = False) -> str:
    """A `table` environment with booktabs rules."""
    heading, lines = grid_of(table, paper=paper)
    body = [" & ".join(map(latex_safe, line)) + r" \\" for line in lines]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{latex_safe(caption(table))}}}",
            rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            " & ".join(map(latex_safe, heading)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def latex_safe(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in plain(text))
