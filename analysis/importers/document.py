"""JSON documents of other tools: read with the place of every damage, looked up by dotted path."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from catalog.errors import BadFile

MOST_BYTES = 4 * 2**30


class Document:
    """One JSON object of a file; `get` and `number` take dotted paths."""

    def __init__(self, data: Mapping[str, Any], path: Path, *, place: str = "") -> None:
        self.data = data
        self.path = path
        self.place = place
        """Where in the file this object is: `line 3`, `benchmarks.0`."""

    def get(self, path: str) -> Any:
        """The value at a path, None where there is none."""
        found: Any = self.data
        for key in path.split("."):
            if isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, Mapping):
                found = found.get(key)
            else:
                return None
        return found

    def number(self, path: str, *, times: float = 1.0) -> float | None:
        """A finite number in another unit, None where it is not given; else BadFile."""
        value = self.get(path)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.bad(f"{path} is {str(value)[:40]!r}, not a number")
        return float(value) * times

    def count(self, path: str) -> int | None:
        """A whole number."""
        value = self.number(path)
        return None if value is None else round(value)

    def text(self, path: str) -> str:
        value = self.get(path)
        return value if isinstance(value, str) else ""

    def part(self, path: str) -> "Document":
        """The object at a path as a document of its own."""
        found = self.get(path)
        if not isinstance(found, Mapping):
            raise self.bad(f"{path} is missing")
        return Document(found, self.path, place=".".join(filter(None, [self.place, path])))

    def bad(self, problem: str) -> BadFile:
        return BadFile(self.path, f"{self.place}: {problem}" if self.place else problem)


def read_documents(path: Path) -> Iterator[Document]:
    """Yield the objects of a JSON, JSON-lines or CSV file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadFile(path, "larger than 4 GiB")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(path, f"cannot be read as text ({error})") from None
    if not text.strip():
        raise BadFile(path, "is empty")
    if path.suffix.lower() == ".csv":
        yield from _csv_rows(path, text)
    elif path.suffix.lower() in {".jsonl", ".ndjson"}:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield from _objects(path, _decode(path, line, first_line=number), f"line {number}")
    else:
        yield from _objects(path, _decode(path, text), "")


def _decode(path: Path, text: str, *, first_line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = error.lineno + first_line - 1
        cut = " (the file ends there: truncated?)" if error.pos >= len(text.rstrip()) - 1 else ""
        problem = f"not valid JSON at line {line}, column {error.colno}: {error.msg}{cut}"
        raise BadFile(path, problem) from None
    except RecursionError:
        raise BadFile(path, "JSON nested too deep") from None


def _objects(path: Path, value: Any, place: str) -> Iterator[Document]:
    items = value if isinstance(value, list) else [value]
    for index, item in enumerate(items):
        where = f"element {index + 1}" if isinstance(value, list) else place
        if not isinstance(item, Mapping):
            raise BadFile(path, f"{where or 'the file'} is no JSON object")
        yield Document(item, path, place=where)


def _csv_rows(path: Path, text: str) -> Iterator[Document]:
    for number, row in enumerate(csv.DictReader(text.splitlines()), start=1):
        if None in row:
            raise BadFile(path, f"row {number}: more cells than the header")
        yield Document({k: _value(v) for k, v in row.items()}, path, place=f"row {number}")


def _value(cell: str | None) -> float | str | None:
    if cell is None or not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError:
        return cell
