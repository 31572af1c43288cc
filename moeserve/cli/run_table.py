"""The run table as people read it: the same columns and order after `run` and in `results`."""

from collections.abc import Iterable, Sequence

from moeserve.cli.show import headed
from orchestrator.results.record import Row

SUMMARY = headed(
    "model", "served_model", "answered_by", "strategy", "technique", "request_form", "num_gpus",
    "gpu_type", "workload", "max_concurrency",
    "effective_concurrency", "request_rate", "output_throughput", "output_throughput_per_gpu",
    "mean_ttft_ms", "p99_ttft_ms", "mean_itl_ms", "mean_e2el_ms", "request_goodput", "replicate",
    "provenance", "verdict", "verdict_reasons", "verdict_notes", "run_id",
)  # fmt: skip
ORDER = (
    "provenance", "model", "technique", "workload", "strategy", "request_rate", "max_concurrency",
    "replicate", "started_at",
)  # fmt: skip
"""Levels of a study in the order people look for them; numbers by size."""


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Sort rows by their levels: layouts side by side within each model and workload."""
    listed = list(rows)
    levels = ([_level(row.get(name)) for row in listed] for name in ORDER)
    places = list(zip(*(_ranks(column) for column in levels), strict=True))
    return [listed[at] for at in sorted(range(len(listed)), key=places.__getitem__)]


def _ranks(levels: Sequence[object]) -> list[tuple[int, float, str]]:
    """The sort key of each level of a column: of many rows most say the same."""
    from analysis.data.order import rank

    known = {level: rank(level) for level in set(levels)}
    return [known[level] for level in levels]


def _level(value: object) -> object:
    return "" if value is None or value != value else value
