"""The run table as people read it: the same columns and order after `run` and in `results`."""

from collections.abc import Iterable

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
    from analysis.data.order import rank

    return sorted(rows, key=lambda row: [rank(_level(row.get(name))) for name in ORDER])


def _level(value: object) -> object:
    return "" if value is None or value != value else value
