"""Rows as CSV that spreadsheets may open: RFC 4180, with nothing in it that runs.

A spreadsheet takes a cell that begins with one of a few characters for a formula, blanks before it
or not (OWASP, "CSV Injection"). Such text stands behind an apostrophe; what reads the file back
takes one away (`HIDDEN_FORMULA`). Numbers stay as they are.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from catalog.plain_text import UNSEEN

# The apostrophe is among the blanks, so that text which has one of its own reads back with it.
_FORMULA = rf"(?:[\s'{UNSEEN}]*[-=+@\uff0b\uff0d\uff1d\uff20]|[\t\r\n])"
FORMULA = re.compile(_FORMULA)
HIDDEN_FORMULA = re.compile(f"'{_FORMULA}")
"""Text that reads back without its first character."""
NUMBER = re.compile(r"[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?", re.ASCII)
# A line break within a cell is quoted; other control characters drive terminals and end strings,
# and those of direction show another text than the one that is there.
DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{DIRECTION}]")


def csv_text(rows: Iterable[Mapping[str, object]], names: Sequence[str] = ()) -> str:
    """Return rows under one heading: `names` first, then others in the order they come up.

    What a row lacks is empty, and so are None, NaN and infinities.
    """
    listed = list(rows)
    columns = list(dict.fromkeys([*names, *(name for row in listed for name in row)]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([_defused(name) for name in columns])
    writer.writerows([_cell(row.get(name)) for name in columns] for row in listed)
    return out.getvalue()


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return value if isinstance(value, int | float) else _defused(str(value))


def _defused(text: str) -> str:
    text = _CONTROL.sub("", text)
    harmless = FORMULA.match(text) is None or NUMBER.fullmatch(text)
    return text if harmless else f"'{text}"
