"""Files of other tools as objects: damage is told with its place, values lie at dotted paths."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.importers import aiperf_csv, printed
from catalog.errors import BadFile
from catalog.named_file import text_named
from catalog.plain_text import plain

MOST_BYTES = 4 * 2**30
MOST_EXACT = 2**53
"""Whole numbers above it are no counts: a float does not hold them."""
UNKNOWN = frozenset({"", "nan", "none", "null", "n/a", "na", "-"})
LINES = {".jsonl", ".ndjson"}
LONGEST_TEXT = 1_000


class Document:
    """One object of a file; `get` and `number` take dotted paths."""

    def __init__(self, data: Mapping[str, Any], path: Path, *, place: str = "") -> None:
        self.data = data
        self.path = path
        self.place = place
        """Where in the file this object is: `line 3`, `benchmarks.0`."""

    def get(self, path: str) -> Any:
        """The value at a path, None where there is none."""
        found: Any = self.data
        for key in path.split("."):
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, Mapping):
                found = found.get(key)
            else:
                return None
        return found

    def number(self, path: str, *, times: float = 1.0) -> float | None:
        """A finite number in another unit, None where it is not given; else BadFile."""
        value = self.get(path)
        if value is None or (isinstance(value, str) and value.strip().lower() in UNKNOWN):
            return None
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.bad(f"{path} is {str(value)[:40]!r}, not a number")
        if isinstance(value, float) and not math.isfinite(value):
            return None
        try:
            found = float(value) * times
        except ValueError:
            raise self.bad(f"{path} is {str(value)[:40]!r}, not a number") from None
        except OverflowError:  # a whole number beyond every float
            found = math.inf
        if not math.isfinite(found):
            raise self.bad(f"{path} is {str(value)[:40]}, larger than can be computed with")
        return found

    def count(self, path: str) -> int | None:
        """A whole number."""
        return self._whole(path, self.number(path))

    def total(self, path: str, requests: int | None) -> int | None:
        """All tokens of so many requests, from their mean."""
        mean = self.number(path)
        return self._whole(path, mean * requests if mean is not None and requests else None)

    def _whole(self, path: str, value: float | None) -> int | None:
        if value is not None and abs(value) > MOST_EXACT:
            raise self.bad(f"{path} is {value:g}: too large for a count")
        return None if value is None else round(value)

    def setting(self, path: str) -> float | None:
        """A load that was asked for: positive, or none («inf», 0 and −1 say «no limit»)."""
        value = self.get(path)
        if isinstance(value, str) and value.strip().lower() in {"inf", "infinity"}:
            return None
        found = self.number(path)
        return found if found is not None and found > 0 else None

    def level(self, path: str) -> int | None:
        """A setting that is a whole number: requests in flight, a length."""
        return self.count(path) if self.setting(path) is not None else None

    def text(self, path: str) -> str:
        """What can be printed of a text, of any that is longer than a name its beginning."""
        value = self.get(path)
        return plain(value[:LONGEST_TEXT]) if isinstance(value, str) else ""

    def flag(self, path: str) -> bool:
        """Whether a switch is on, however the tool spells it."""
        return str(self.get(path)).strip().lower() in {"true", "1", "1.0", "yes", "on"}

    def part(self, path: str) -> "Document":
        """The object at a path as a document of its own."""
        found = self.get(path)
        if not isinstance(found, Mapping):
            raise self.bad(f"{path} is missing")
        return Document(found, self.path, place=".".join(filter(None, [self.place, path])))

    def bad(self, problem: str) -> BadFile:
        return bad_file(self.path, f"{self.place}: {problem}" if self.place else problem)


def bad_file(path: Path, problem: str) -> BadFile:
    """An error in one line, whatever the file had in it."""
    return BadFile(path, " ".join(plain(problem).split()))


def read_documents(path: Path) -> Iterator[Document]:
    """Yield the objects of a JSON, JSON-lines or CSV file, or of a printed summary."""
    count = 0
    for document in _documents(path, _text(path)):
        count += 1
        yield document
    if not count:
        raise BadFile(path, "holds no objects")


def _documents(path: Path, text: str) -> Iterator[Document]:
    if printed.is_printed(text):
        for number, data in enumerate(printed.summaries(text), start=1):
            yield Document(data, path, place=f"summary {number}" if number > 1 else "")
    elif aiperf_csv.is_export(text):
        yield Document(aiperf_csv.as_json(text), path)
    elif path.suffix.lower() == ".csv":
        yield from _csv_rows(path, text)
    else:
        yield from _json_objects(path, text)


def _text(path: Path) -> str:
    text = text_named(path, "results", most_bytes=MOST_BYTES, encoding="utf-8-sig")
    if not text.strip():
        raise BadFile(path, "is empty")
    return text


def _json_objects(path: Path, text: str) -> Iterator[Document]:
    """One value, or several behind each other: JSON lines, whatever the file is called."""
    decoder, at, line = json.JSONDecoder(), 0, 1
    several = path.suffix.lower() in LINES
    while (start := _next(text, at)) < len(text):
        line += text.count("\n", at, start)
        value, at = _decode(path, decoder, text, start)
        several = several or _next(text, at) < len(text)
        yield from _objects(path, value, f"line {line}" if several else "")
        line += text.count("\n", start, at)


def _next(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _decode(path: Path, decoder: json.JSONDecoder, text: str, start: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        if text[start] not in "{[":
            kinds = "JSON, JSON lines, AIPerf's CSV or a printed Serving Benchmark Result"
            raise bad_file(path, f"is not a file that is read: {kinds}") from None
        cut = " (the file ends there: truncated?)" if error.pos >= len(text.rstrip()) - 1 else ""
        problem = f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}{cut}"
        raise bad_file(path, problem) from None
    except RecursionError:
        raise BadFile(path, "JSON nested too deep") from None
    except ValueError as error:  # a whole number of thousands of digits
        raise bad_file(path, f"not valid JSON: {str(error).split(';')[0]}") from None


def _objects(path: Path, value: Any, place: str) -> Iterator[Document]:
    items = value if isinstance(value, list) else [value]
    for index, item in enumerate(items):
        where = f"element {index + 1}" if isinstance(value, list) else place
        if not isinstance(item, Mapping):
            raise BadFile(path, f"{where or 'the file'} is no JSON object")
        yield Document(item, path, place=where)


def _csv_rows(path: Path, text: str) -> Iterator[Document]:
    try:
        for number, row in enumerate(csv.DictReader(text.splitlines()), start=1):
            if None in row:
                raise BadFile(path, f"row {number}: more cells than the header")
            yield Document({k: _value(v) for k, v in row.items()}, path, place=f"row {number}")
    except csv.Error as error:
        raise bad_file(path, f"not a readable CSV file ({error})") from None


def _value(cell: str | None) -> float | str | None:
    if cell is None or not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError:
        return cell
