"""What of a run is a metric, and what labels it: one rule for every tool."""

import math
from collections.abc import Iterator, Mapping

from catalog.plain_text import plain
from orchestrator.results.quantities import measure_of, role_of
from orchestrator.results.record import ColumnValue, Row

LABELS = (
    "run_id", "provenance", "verdict", "engine", "model", "strategy", "technique", "num_gpus",
    "gpu_type", "workload", "max_concurrency", "request_rate", "replicate", "configuration",
)  # fmt: skip
"""What tells runs apart. The verdict and the provenance go everywhere a number goes."""


def labels(row: Row) -> dict[str, str]:
    """The labels that a run has, as text."""
    return {name: as_text(row[name]) for name in LABELS if is_told(row.get(name))}


def metrics(row: Row) -> Iterator[tuple[str, float]]:
    """What was measured of a run; what was not is absent, never 0."""
    for name, value in row.items():
        if role_of(name) != "measure" or isinstance(value, bool):
            continue
        if isinstance(value, int | float) and math.isfinite(value):
            yield name, float(value)


def unit_of(name: str) -> str:
    """The unit of a metric, empty where it is a plain number."""
    measure = measure_of(name)
    return measure.unit if measure else ""


def conditions(row: Row) -> Mapping[str, str]:
    """Everything of a run that is part of its condition."""
    return {
        name: as_text(value)
        for name, value in row.items()
        if role_of(name) == "condition" and is_told(value)
    }


def is_told(value: ColumnValue) -> bool:
    return value is not None and value != "" and value == value


def as_text(value: ColumnValue) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else plain(str(value))
