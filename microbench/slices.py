"""Rows that differ in one size only."""

from collections.abc import Iterator, Sequence

from microbench.rows import Row

SIZES = ("dtype", "hidden", "experts", "top_k", "batch", "intermediate", "active_experts")


def timed(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.median_ms is not None]


def median_ms(row: Row) -> float:
    """Only for rows that have one."""
    assert row.median_ms is not None
    return row.median_ms


def along(rows: Sequence[Row], size: str, *, least: int) -> Iterator[list[Row]]:
    """Yield each set of timed rows alike in all sizes but one, in its order, if large enough."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in timed(rows):
        others = tuple(getattr(row, name) for name in SIZES if name != size)
        groups.setdefault(others, []).append(row)
    for members in groups.values():
        if len({getattr(row, size) for row in members}) >= least:
            yield sorted(members, key=lambda row: int(getattr(row, size)))


def by_backend(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.backend, []).append(row)
    return found
