"""Columns that fit a terminal: text wraps, columns drop out by rank, a number is never cut."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rich.cells import cell_len

LONGEST_WORD = 28
"""Characters of a word that no column needs to hold in one line."""
READABLE = 14
"""Characters that text wants in a line, so that its cells do not become towers."""
PROSE, PROSE_WIDTH = 60, 28
"""Text of more characters than the first wants as many in a line as the second."""
MOST_NOTES = 9
"""Different sentences of a column up to which they are better read below the table."""
BORDER, BESIDE = 1, 3
"""Characters of a table's left border, and those beside each column: two blanks, a border."""

# Columns of any table by their names, those that a narrow terminal does without first; others
# go after them, the last first. The first column of a table and what it answers stay.
DROPPED_FIRST = (
    "run_id", "server_group", "driver_names", "request_form", "answered_by", "served_model",
    "verdict_notes", "kv_tokens_capacity", "p_sign_flip", "median_ttft_ms", "p99_ttft_ms",
    "partial_eta_squared", "kruskal_p", "welch_p", "mixed_df_residual", "df_residual",
    "p_equivalence", "confounded_by", "reason", "mean_e2el_ms", "provenance", "total_parameters",
    "sum_sq", "eta_squared_low", "eta_squared_high", "mixed_f", "advice", "reference",
    "runs_needed", "bound", "effective_concurrency", "mean_itl_ms", "mean_tpot_ms",
    "output_throughput_per_gpu", "low_output_throughput", "high_output_throughput", "replicate",
    "request_goodput", "pairs", "p_adjusted",
)  # fmt: skip
KEPT = (
    "verdict_reasons", "why", "rejected_because", "problem", "p", "f", "basis", "ratio_low",
    "ratio_high", "mean_ttft_ms", "technique", "request_rate", "workload", "model", "probability",
    "factor", "rank", "max_concurrency", "output_throughput", "verdict", "ratio", "strategy",
)  # fmt: skip
"""What a table is read for: these go last, in this order, what a row is of after figures."""
LIFTED = ("provenance", "model", "technique", "workload")
"""Labels that may head a part of a table in place of a column of it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as text."""

    name: str
    heading: str
    cells: Sequence[str]
    is_numeric: bool

    @property
    def natural(self) -> int:
        """Width at which no cell wraps; a heading may wrap between its words."""
        return max([self.floor, *map(cell_len, {*self.cells})], default=1)

    @property
    def unfolded(self) -> int:
        """Width at which not even the heading wraps."""
        return max(self.natural, cell_len(self.heading))

    @property
    def floor(self) -> int:
        """Width below which a number would be cut, or a word of usual length."""
        words = [cell_len(word) for word in self.heading.split()]
        if self.is_numeric:
            return max([*words, *map(cell_len, {*self.cells})], default=1)
        longest = max((cell_len(w) for text in {*self.cells} for w in pieces(text)), default=1)
        return max([*words, min(longest, LONGEST_WORD)])

    @property
    def comfortable(self) -> int:
        if self.is_numeric:
            return self.floor
        natural = self.natural
        return max(self.floor, min(natural, PROSE_WIDTH if natural > PROSE else READABLE))


@dataclass(frozen=True, slots=True)
class Fitted:
    """The columns that stand, each with its width, and what does not stand in them."""

    kept: tuple[tuple[Column, int], ...]
    dropped: tuple[Column, ...]
    notes: tuple[str, ...] = ()
    """Sentences that cells refer to by their numbers."""


def fit(columns: Sequence[Column], width: int | None) -> Fitted:
    """Choose columns and widths for a terminal; without a width everything stands as it is.

    Sentences become notes below the table where they are few, before anything is left out.
    """
    if width is None:
        return Fitted(tuple((each, each.unfolded) for each in columns), ())
    left, notes = list(columns), tuple[str, ...]()
    if _total([each.natural for each in left]) > width:
        left, notes = _with_notes(left)
    every, dropped = list(left), list[Column]()
    while len(left) > 1 and _wanted(left) > width:
        for each in _with_partner(_least(left), left):
            left.remove(each)
            dropped.append(each)
    for each in reversed(dropped):  # a wide one that went last may have left room for others
        alone = len(_with_partner(each, every)) == 1
        if alone and _wanted([*left, each]) <= width:
            left.append(each)
    left.sort(key=every.index)
    widths = {each.name: each.comfortable for each in left}
    _widen(left, widths, width - _total(list(widths.values())))
    out = tuple(each for each in every if each not in left)
    return Fitted(tuple((each, widths[each.name]) for each in left), out, notes)


def lifted(columns: Sequence[Column], width: int | None) -> tuple[str, ...]:
    """Labels to head the parts of a table that is too wide, as few as it takes.

    Only where the rows of a label stand together: a table keeps its order.
    """
    chosen: tuple[str, ...] = ()
    if width is None:
        return chosen
    for name in LIFTED:
        left = [each for each in columns if each.name not in chosen]
        if _total([each.natural for each in left]) <= width:
            break
        here = [each for each in columns if each.name in (*chosen, name)]
        if any(each.name == name for each in here) and _stand_together(here) and len(left) > 2:
            chosen = (*chosen, name)
    return chosen


def _stand_together(columns: Sequence[Column]) -> bool:
    """Whether equal rows follow each other, several on average."""
    rows = list(zip(*(each.cells for each in columns), strict=True))
    parts = 1 + sum(one != other for one, other in pairwise(rows))
    return parts == len(set(rows)) and 2 * parts <= len(rows)


def _with_notes(columns: Sequence[Column]) -> tuple[list[Column], tuple[str, ...]]:
    """Put numbers for the sentences of columns that hold few of them, each listed once."""
    notes: dict[str, int] = {}
    made = []
    for each in columns:
        told = {text for text in each.cells if text}
        if each.is_numeric or len(told) > MOST_NOTES or each.natural <= READABLE * 2:
            made.append(each)
            continue
        for text in each.cells:
            if text:
                notes.setdefault(text, len(notes) + 1)
        cells = [f"[{notes[text]}]" if text else "" for text in each.cells]
        made.append(replace(each, cells=cells))
    return made, tuple(f"[{number}] {text}" for text, number in notes.items())


def _with_partner(column: Column, columns: Sequence[Column]) -> list[Column]:
    """The column and the other end of its range, if it is one: half a range says nothing."""
    name = column.name
    ends = (("low_", "high_"), ("_low", "_high"))
    others = {name.replace(a, b) for low, high in ends for a, b in ((low, high), (high, low))}
    return [each for each in columns if each.name == name or each.name in others - {name}]


def pieces(text: str) -> list[str]:
    """The parts of a text that stay in one line: words, and those of hyphenated ones."""
    return textwrap.wrap(text, 1, break_long_words=False) if len(text) > 1 else [text]


def wrapped(text: str, width: int) -> list[str]:
    """Lines of a text; only a word that is longer than a line is broken."""
    if len(text) <= width and text == " ".join(text.split()):
        return [text]  # as most cells are: what textwrap would say of it
    return textwrap.wrap(text, max(1, width)) or [""]


def _wanted(columns: Sequence[Column]) -> int:
    return _total([each.comfortable for each in columns])


def _total(widths: Sequence[int]) -> int:
    return BORDER + sum(width + BESIDE for width in widths)


def _least(columns: Sequence[Column]) -> Column:
    """The column that goes next; the first one never does."""
    ranks = {name: (0, place) for place, name in enumerate(DROPPED_FIRST)}
    ranks |= {name: (2, place) for place, name in enumerate(KEPT)}
    places = {each.name: (1, -place) for place, each in enumerate(columns)}
    return min(columns[1:], key=lambda each: ranks.get(each.name, places[each.name]))


def _widen(columns: Sequence[Column], widths: dict[str, int], spare: int) -> None:
    """Give what is left to the columns that still wrap, the one nearest to its full width first."""
    for each in sorted(columns, key=lambda column: column.natural - widths[column.name]):
        more = max(0, min(spare, each.natural - widths[each.name]))
        widths[each.name] += more
        spare -= more
