"""Rows that differ in one size only."""

from collections.abc import Iterator, Sequence

from microbench.rows import PointRow

SIZES = ("dtype", "hidden", "experts", "top_k", "batch", "intermediate", "active_experts")


def timed(rows: Sequence[PointRow]) -> list[PointRow]:
    return [row for row in rows if row.median_ms is not None]


def median_ms(row: PointRow) -> float:
    """Only for rows that have one."""
    assert row.median_ms is not None
    return row.median_ms


def along(rows: Sequence[PointRow], size: str, *, least: int) -> Iterator[list[PointRow]]:
    """Yield each set of timed rows alike in all sizes but one, in its order, if large enough."""
    groups: dict[tuple[object, ...], list[PointRow]] = {}
    for row in timed(rows):
        others = tuple(getattr(row, name) for name in SIZES if name != size)
        groups.setdefault(others, []).append(row)
    for members in groups.values():
        if len({getattr(row, size) for row in members}) >= least:
            yield sorted(members, key=lambda row: int(getattr(row, size)))


def by_backend(rows: Sequence[PointRow]) -> dict[str, list[PointRow]]:
    found: dict[str, list[PointRow]] = {}
    for row in rows:
        found.setdefault(row.backend, []).append(row)
    return found
