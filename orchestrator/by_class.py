"""Runs by class of request: a row for each part of a mix, or each turn of its conversations.

A class is a workload of its own in every row, so that whatever reads a run table (compare, anova,
the report) keeps classes apart, as it keeps workloads apart; and each row has a run id of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.results.manifests import read_manifests
from orchestrator.results.quantities import role_of
from orchestrator.results.record import Row
from orchestrator.results.rows import rows_of
from orchestrator.run.outcome import attainment
from orchestrator.table import request_files, run_rows
from workloads.figures.goodput import parse_goodput
from workloads.figures.mixed import cache_figures, length_figures
from workloads.figures.normalised import normalised_figures
from workloads.figures.summary import figures_of
from workloads.transcript import RequestRow

COUNTS = ("completed", "failed", "total_input_tokens", "total_output_tokens")
LATENCIES = ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms")
KEPT = (
    "verdict", "replicate", "block", "attempt", "started_at", "server_group", "duration",
    "goodput_limits",
)  # fmt: skip
"""Of the run, in the row of each of its classes, beside the condition that it was under."""
OWN = ("workload", "input_len", "output_len", "num_prompts")
"""Columns of the condition that are of the whole run, and another for each class."""


def class_rows(root: Path, by: str) -> list[Row]:
    """Return a row for each class of each run, in the order of the runs and of the classes.

    `by` is `part` or `turn` (counted from 0). Rates are over the run's own duration: those of all
    classes add up to the run's. A run whose requests are all of one class has one row.
    """
    manifests = {manifest.record.run_id: manifest for manifest in read_manifests(root)}
    found: list[Row] = []
    for run in run_rows(root):
        files = request_files(root, [manifests[str(run["run_id"])]])
        classes: dict[str | int, list[RequestRow]] = {}
        for row in (row for path in files for row in rows_of(path)):
            classes.setdefault(getattr(row, by) or ("" if by == "part" else 0), []).append(row)
        found += [_row(run, by, name, classes[name]) for name in sorted(classes)]
    return found


def _row(run: Row, by: str, name: str | int, rows: Sequence[RequestRow]) -> Row:
    figures, limits = figures_of(rows, goodput={}, max_concurrency=None), run.get("goodput_limits")
    label = "" if name == "" else f"{by}={name}"
    return {
        **{key: value for key, value in run.items() if value is not None and _is_kept(key)},
        "run_id": f"{run['run_id']}:{label}" if label else run["run_id"],
        "workload": f"{run['workload']} {label}" if label else run["workload"],
        by: name,
        "requests": len(rows),
        **{key: figures[key] for key in COUNTS},
        **_rates(figures, run),
        **{key: value for key, value in figures.items() if _is_latency(key)},
        **normalised_figures(rows),
        **length_figures(rows),
        "cached_token_share": cache_figures(rows, {})["cached_token_share"],
        **attainment(rows, parse_goodput([str(limits)]) if limits else {}),
    }


def _is_kept(name: str) -> bool:
    return name in KEPT or (role_of(name) == "condition" and name not in OWN)


def _rates(figures: Mapping[str, float | int | None], run: Row) -> Row:
    duration_s, gpus = run.get("duration"), run.get("num_gpus")
    if not isinstance(duration_s, float) or not duration_s:
        return {}
    output = (figures["total_output_tokens"] or 0) / duration_s
    return {
        "request_throughput": (figures["completed"] or 0) / duration_s,
        "output_throughput": output,
        "output_throughput_per_gpu": output / gpus if isinstance(gpus, int) and gpus else None,
    }


def _is_latency(name: str) -> bool:
    return name.endswith(LATENCIES) and not name.startswith("steady_") and "from_send" not in name
