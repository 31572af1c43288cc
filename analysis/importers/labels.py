"""What a result file does not say and the user does: for all files, or for each."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import msgspec

from analysis.importers.leftovers import Scalar, column_name
from catalog.errors import BadFile, BadValue, UnknownName
from catalog.named_file import text_named
from orchestrator.results.record import COLUMNS
from strategies import Layout, parse_layout

TEXTS = ("model", "strategy", "workload", "gpu_type", "engine", "technique", "server_group")
WHOLES = ("num_gpus", "max_concurrency", "input_len", "output_len", "num_prompts", "replicate")
NUMBERS = ("request_rate", "burstiness")
GIVEN = (*TEXTS, *WHOLES, *NUMBERS)
"""Columns of the run table that a user can fill in; any other name is a column of its own."""
_LABEL = re.compile(r"(?:(?P<file>.+):)?(?P<name>[A-Za-z_][\w.-]*)=(?P<value>.*)", re.DOTALL)
FORM = (
    "NAME=VALUE or FILE:NAME=VALUE, for instance run1.json:strategy=tp8, "
    "or a CSV with a column file"
)


@dataclass(frozen=True, slots=True)
class Labels:
    """Given by the user; they win over what the file says."""

    model: str = ""
    strategy: str = ""
    workload: str = ""
    gpu_type: str = ""
    each: Sequence[tuple[str, Mapping[str, Scalar]]] = field(default_factory=tuple)
    """Further labels, each with the file or pattern it is for (empty: all)."""

    def of(self, source: Path) -> dict[str, Scalar]:
        """The labels of one file; those for the file itself win over those for all."""
        names = ("model", "strategy", "workload", "gpu_type")
        found: dict[str, Scalar] = {n: getattr(self, n) for n in names if getattr(self, n)}
        for pattern, values in sorted(self.each, key=lambda pair: bool(pair[0])):
            if not pattern or _meant(pattern, source):
                found |= values
        return found

    def check(self, sources: Iterable[Path]) -> None:
        """Refuse labels for a file that is not among those read."""
        files = list(sources)
        for pattern, _ in self.each:
            if pattern and not any(_meant(pattern, path) for path in files):
                raise UnknownName("file of --label", pattern, {path.name for path in files})


def _meant(pattern: str, source: Path) -> bool:
    """A file by its name, the end of its path, a folder above it, or a pattern with `*`."""
    text, wanted = source.as_posix(), pattern.rstrip("/")
    wanted = wanted.removeprefix("./")
    return (
        text == wanted
        or text.endswith(f"/{wanted}")
        or f"/{wanted}/" in f"/{text}"
        or fnmatch(source.name, wanted)
        or fnmatch(text, wanted)
        or fnmatch(text, f"*/{wanted}")
    )


def parse_labels(texts: Iterable[str]) -> list[tuple[str, dict[str, Scalar]]]:
    """Read `--label` values: pairs, or names of CSV files with a row for each result file."""
    found: list[tuple[str, dict[str, Scalar]]] = []
    for text in texts:
        match = _LABEL.fullmatch(text)
        if match is not None:
            found.append((match["file"] or "", _values({match["name"]: match["value"]}, text)))
        elif text.lower().endswith(".csv"):
            found.extend(_csv_labels(Path(text)))
        else:
            raise BadValue("--label", text, FORM)
    return found


def _csv_labels(path: Path) -> list[tuple[str, dict[str, Scalar]]]:
    try:
        text = text_named(path, "labels", encoding="utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise BadFile(path, f"cannot be read as labels ({error})") from None
    if not rows or "file" not in rows[0]:
        raise BadFile(path, "needs a column file, and a row for each result file")
    found = []
    for number, row in enumerate(rows, start=1):
        if None in row or not (row["file"] or "").strip():
            raise BadFile(path, f"row {number}: needs a file and one cell for each column")
        cells = {name: cell for name, cell in row.items() if name != "file" and cell}
        found.append((row["file"].strip(), _values(cells, f"{path}, row {number}")))
    return found


def _values(pairs: Mapping[str, str], where: str) -> dict[str, Scalar]:
    return {
        _name(name, where): typed_label(name, text.strip(), where) for name, text in pairs.items()
    }


def _name(name: str, where: str) -> str:
    if name in GIVEN:
        return name
    if name in COLUMNS or name.startswith("tool_"):
        allowed = f"{', '.join(GIVEN)}, or a name of your own"
        raise BadValue(
            "--label", name, f"{allowed}; this column is not given but found", where=where
        )
    return column_name(name)


def typed_label(name: str, text: str, where: str = "") -> Scalar:
    """A label's value in the kind of its column; a column of one's own keeps numbers as numbers."""
    if name in TEXTS:
        return text
    try:
        number = float(text)
    except ValueError:
        if name in (*WHOLES, *NUMBERS):
            raise BadValue(f"--label {name}", text, "a number", where=where) from None
        return text
    if name in WHOLES and not (number.is_integer() and 0 <= number <= 2**53):
        raise BadValue(f"--label {name}", text, "a whole number, 0 or more", where=where)
    if name in NUMBERS and not 0 < number < float("inf"):
        raise BadValue(f"--label {name}", text, "a number above 0", where=where)
    return (
        int(number)
        if name in WHOLES
        else number
        if number == number and abs(number) < 1e300
        else text
    )


def layout_of(tp: int | None, pp: int | None, dp: int | None, *, ep: bool) -> Layout | None:
    """A layout from degrees a file states; None when it states none."""
    if tp is None and pp is None and dp is None and not ep:
        return None
    try:
        return Layout(tp=tp or 1, pp=pp or 1, dp=dp or 1, ep=ep)
    except (BadValue, msgspec.ValidationError):
        return None


def layout_named(name: str) -> Layout | None:
    return parse_layout(name) if name else None
