"""Runs by class of request: a row for each part of a mix, or each turn of its conversations.

A class is a workload of its own in every column, so that whatever reads a run table (compare,
anova, the report) keeps classes apart, as it keeps workloads apart; the run's id is kept unique.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from orchestrator.results.record import Row
from orchestrator.results.rows import rows_of
from orchestrator.results.store import read_manifests
from orchestrator.run.outcome import attainment, figures_of
from orchestrator.table import request_files, run_rows
from workloads.figures.goodput import limits_of, parse_goodput
from workloads.figures.mixed import length_figures
from workloads.figures.normalised import normalised_figures
from workloads.transcript import RequestRow

By = Literal["part", "turn"]
COUNTS = ("completed", "failed", "total_input_tokens", "total_output_tokens")
LATENCIES = ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms")
KEPT = (
    "provenance", "verdict", "model", "strategy", "tp", "dp", "pp", "ep", "num_gpus", "gpu_type",
    "technique", "engine", "replicate", "block", "attempt", "started_at", "server_group",
    "max_concurrency", "request_rate", "burstiness", "duration", "goodput_limits",
    "engine_version", "server_args", "server_env", "endpoint",
)  # fmt: skip


def class_rows(root: Path, by: By) -> list[Row]:
    """Return a row for each run and class, in the order of the runs.

    Rates are over the run's own duration: those of all classes add up to the run's. Goodput is by
    the limits of the class. Runs whose requests are all of one class have one row.
    """
    manifests = {manifest.record.run_id: manifest for manifest in read_manifests(root)}
    found: list[Row] = []
    for run in run_rows(root):
        files = request_files(root, [manifests[str(run["run_id"])]])
        rows = [row for path in files for row in rows_of(path)]
        found += [_class_row(run, by, name, some) for name, some in _classes(rows, by)]
    return found


def _classes(rows: Sequence[RequestRow], by: By) -> Iterator[tuple[str, list[RequestRow]]]:
    classes: dict[str, list[RequestRow]] = {}
    for row in sorted(rows, key=lambda each: each.request):
        name = row.part if by == "part" else "" if row.turn is None else str(row.turn)
        classes.setdefault(name, []).append(row)
    yield from sorted(classes.items(), key=lambda each: (by == "turn" and len(each[0]), each[0]))


def _class_row(run: Row, by: By, name: str, rows: Sequence[RequestRow]) -> Row:
    limits = _limits(run, name if by == "part" else "")
    figures = figures_of(rows, goodput=limits, max_concurrency=None)
    duration_s = run.get("duration")
    said = f"{run['workload']} {by}={name}" if name else run["workload"]
    return {
        "run_id": f"{run['run_id']}:{by}={name}" if name else run["run_id"],
        **{key: run[key] for key in KEPT if run.get(key) is not None},
        "workload": said,
        "class_by": by,
        "class": name,
        "num_prompts": len(rows),
        **{key: figures[key] for key in COUNTS},
        **_rates(figures, rows, duration_s if isinstance(duration_s, float) else None, run),
        **{key: value for key, value in figures.items() if _is_latency(key)},
        **normalised_figures(rows),
        **length_figures(rows),
        **attainment(rows, limits),
    }


def _rates(
    figures: Mapping[str, float | int | None],
    rows: Sequence[RequestRow],
    duration_s: float | None,
    run: Row,
) -> Row:
    if not duration_s:
        return {}
    output = (figures["total_output_tokens"] or 0) / duration_s
    gpus = run.get("num_gpus")
    return {
        "request_throughput": (figures["completed"] or 0) / duration_s,
        "output_throughput": output,
        "output_throughput_per_gpu": output / gpus if isinstance(gpus, int) and gpus else None,
        "share_of_requests": len(rows) / total if (total := _total(run)) else None,
    }


def _total(run: Row) -> float:
    counted = [run.get("completed"), run.get("failed")]
    return float(sum(each for each in counted if isinstance(each, int | float)))


def _limits(run: Row, part: str) -> dict[str, float]:
    given = run.get("goodput_limits")
    return limits_of(part, parse_goodput([given])) if isinstance(given, str) and given else {}


def _is_latency(name: str) -> bool:
    return name.endswith(LATENCIES) and not name.startswith("steady_") and "from_send" not in name
