"""The figures of a run's classes: the parts of a mix, or the turns of its conversations."""

import re
from collections.abc import Iterator
from pathlib import Path

from catalog.inside import check_inside
from orchestrator.results.record import ColumnValue
from orchestrator.results.rows import rows_of
from orchestrator.results.store import Manifest, read_manifests
from orchestrator.run.outcome import figures_of
from workloads.figures.metrics import good_requests
from workloads.figures.mixed import cache_figures, length_figures
from workloads.transcript import RequestRow, Transcript

IDENTITY = (
    "run_id", "provenance", "model", "strategy", "num_gpus", "gpu_type", "workload",
    "max_concurrency", "request_rate", "replicate", "verdict",
)  # fmt: skip
LATENCY = re.compile(r"(?:completed|failed|(?:mean|median|std|p\d+)_(?:ttft|tpot|itl|e2el)_ms)")


def class_rows(root: Path, by: str) -> list[dict[str, ColumnValue]]:
    """Return a row for each class of each published run, in the order of the classes.

    `by` is `part` or `turn` (counted from 0). Rates are of a whole run; here are latencies,
    lengths, cached tokens and the share of requests within the limits.
    """
    return [row for manifest in read_manifests(root) for row in _rows(root, manifest, by)]


def _rows(root: Path, manifest: Manifest, by: str) -> Iterator[dict[str, ColumnValue]]:
    files = [each.path for each in manifest.files if each.path.endswith("/requests.parquet")]
    goodput = manifest.details.get("goodput") or {}
    identity = {name: getattr(manifest.record, name) for name in IDENTITY}
    for path in files:
        classes: dict[str | int, list[RequestRow]] = {}
        for row in rows_of(check_inside(root, path)):
            classes.setdefault(getattr(row, by) or ("" if by == "part" else 0), []).append(row)
        for name in sorted(classes):
            rows = classes[name]
            good = good_requests(Transcript(rows).completed, goodput) if goodput else None
            figures = figures_of(rows, goodput={}, max_concurrency=None)
            yield {
                **identity,
                by: name,
                "requests": len(rows),
                **{name: figures[name] for name in figures if LATENCY.fullmatch(name)},
                **length_figures(rows),
                "cached_token_share": cache_figures(rows, {})["cached_token_share"],
                "slo_attainment": None if good is None else good / len(rows),
            }
