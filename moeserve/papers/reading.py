"""A figure from a command's rows: which rows, which column, over what."""

import statistics
from collections.abc import Mapping, Sequence

from catalog.errors import BadFile
from moeserve.papers.item import FILE, Reading, Value
from orchestrator.results.record import Row


def value_of(reading: Reading, rows: Sequence[Row]) -> Value | None:
    """Take a reading from rows; BadFile where they cannot give it, never a value of some rows."""
    chosen = _chosen(reading, rows, reading.where)
    if reading.take == "count":
        return float(len(chosen))
    if reading.take == "only" and not reading.over:
        if len(chosen) > 1:
            raise _cannot(reading, f"{len(chosen)} rows, not one")
        return _plain(chosen[0], reading)
    if not reading.match:
        value = _take(reading, [_number(row, reading) for row in chosen])
        if not reading.over:
            return value
        others = _chosen(reading, rows, reading.over)
        return value / _take(reading, [_number(row, reading) for row in others])
    return _take(reading, _matched(reading, chosen, _chosen(reading, rows, reading.over)))


def _matched(reading: Reading, chosen: Sequence[Row], others: Sequence[Row]) -> list[float]:
    """Each row over the one that is like it in the columns of `match`."""
    below: dict[tuple[object, ...], Row] = {}
    for row in others:
        key = tuple(row.get(name) for name in reading.match)
        if key in below:
            raise _cannot(reading, f"two rows to divide by at {key}")
        below[key] = row
    ratios = []
    for row in chosen:
        key = tuple(row.get(name) for name in reading.match)
        if key not in below:
            raise _cannot(reading, f"nothing to divide by at {key}")
        ratios.append(_number(row, reading) / _number(below[key], reading))
    return ratios


def _chosen(
    reading: Reading, rows: Sequence[Row], where: Mapping[str, Value | list[Value]]
) -> list[Row]:
    unknown = [name for name in (*where, *reading.match) if not any(name in row for row in rows)]
    if unknown:
        raise _cannot(reading, f"no column {', '.join(unknown)}")
    found = [row for row in rows if all(_is(row.get(k), wanted) for k, wanted in where.items())]
    if not found:
        raise _cannot(reading, "no such row")
    return found


def _is(value: object, wanted: Value | list[Value]) -> bool:
    options = wanted if isinstance(wanted, list) else [wanted]
    return any(value == each and isinstance(value, bool) == isinstance(each, bool)
               for each in options)  # fmt: skip


def _take(reading: Reading, values: Sequence[float]) -> float:
    if reading.take == "only" and len(values) > 1:
        raise _cannot(reading, f"{len(values)} values, not one")
    how = {"least": min, "most": max}.get(reading.take, statistics.fmean)
    return float(how(values))


def _plain(row: Row, reading: Reading) -> Value | None:
    if reading.column not in row:
        raise _cannot(reading, f"no column {reading.column}")
    value = row[reading.column]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(row: Row, reading: Reading) -> float:
    value = _plain(row, reading)
    if not isinstance(value, float):
        raise _cannot(reading, f"{reading.column} is {value!r}, no number")
    return value


def _cannot(reading: Reading, problem: str) -> BadFile:
    return BadFile(FILE.name, f"«{reading.what}»: {problem}")
