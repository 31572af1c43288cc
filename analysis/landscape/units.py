"""Units of columns and of limits: `gpu_memory_mib <= 16 GiB` compares like with like."""

from catalog.errors import BadValue

_TIME = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_SIZE = {
    "bytes": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
    "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40,
}  # fmt: skip
_SHARE = {"%": 0.01}
_PLAIN_COLUMNS = {"duration": "s"}
"""Columns of the run table whose unit is not in their name."""


def in_column_unit(value: float, unit: str, column: str) -> float:
    """Convert a limit into the unit that the column's name ends with."""
    if not unit:
        return value
    if unit in _SHARE:
        return value * _SHARE[unit]
    own = _PLAIN_COLUMNS.get(column, column.rpartition("_")[2]).lower()
    for scale in (_TIME, _SIZE):
        if unit.lower() in scale and own in scale:
            return value * scale[unit.lower()] / scale[own]
    known = ", ".join(
        scale_unit for scale in (_TIME, _SIZE) if own in scale for scale_unit in scale
    )
    allowed = known or f"a plain number: the name {column!r} does not end with a unit"
    raise BadValue(f"unit of a limit on {column}", unit, allowed)
