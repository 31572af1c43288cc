"""`vllm bench serve` of all ages, its detailed files and sweeps, and its printed summary.

Summaries are in milliseconds, arrays in seconds. ITL is the gap between streamed chunks, TPOT is
per request without the first token, and both run from the moment a request was sent.
vLLM 0.6.0 wrote `input_throughput` for `total_token_throughput` and `latency` for `e2el`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from analysis.importers.detailed import ARRAYS, request_rows
from analysis.importers.document import Document
from analysis.importers.labels import layout_of
from analysis.importers.leftovers import leftovers
from analysis.importers.result import (
    COUNTED,
    STATISTICS,
    ImportedRun,
    Number,
    failed_of,
    mean_of,
    total_rate,
    without_chunk_gaps,
)
from strategies import Layout
from workloads.figures.summary import figures_of

SAME_KEYS = (
    "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput",
    "effective_concurrency",
    *(f"{s}_{m}_ms" for m in ("ttft", "tpot", "itl", "e2el") for s in STATISTICS),
)  # fmt: skip
OTHER_NAMES = {
    "request_goodput": "request_goodput:",
    **{f"{s}_e2el_ms": f"{s}_latency_ms" for s in STATISTICS},
}
COUNTS = ("completed", "failed", "total_input_tokens", "total_output_tokens")
# Names under which a sweep repeats the server's arguments in each run's file.
DEGREES = {
    "tp": ("tensor_parallel_size", "tp", "tensor-parallel-size", "tp_size"),
    "pp": ("pipeline_parallel_size", "pp", "pipeline-parallel-size", "pp_size"),
    "dp": ("data_parallel_size", "dp", "data-parallel-size", "dp_size"),
}
EXPERT_PARALLEL = ("enable_expert_parallel", "enable-expert-parallel", "ep", "enable_ep")
GPUS = ("gpu_type", "gpu", "hardware", "hw", "accelerator", "device")
READ = (
    *SAME_KEYS, *OTHER_NAMES.values(), *ARRAYS, "latencies", "model_id", "num_prompts", "date",
    "max_concurrency", "request_rate", "burstiness", "printed", "backend", "endpoint_type",
    "input_throughput", "output_lens", "random_input_len", "random_output_len", "steady_state",
    "queue_times", *(name for names in DEGREES.values() for name in names), *EXPERT_PARALLEL,
)  # fmt: skip
LENGTHS = (
    ("random_input_len", "input_len", "isl", "sonnet_input_len"),
    ("random_output_len", "output_len", "osl", "sonnet_output_len"),
)


def matches(source: Document) -> bool:
    keys = set(source.data)
    rates = {"total_token_throughput", "input_throughput"} & keys
    return bool(rates and "model_id" in keys) or source.get("printed") is True


def is_unfinished(source: Document) -> str:
    """What is missing of a file that is vLLM's and has no throughput."""
    keys = set(source.data)
    if {"model_id", "tokenizer_id"} & keys and {"num_prompts", "backend"} <= keys:
        return "vllm bench serve, but without output_throughput: a run that did not finish?"
    if {"avg_latency", "percentiles"} <= keys:
        return "vllm bench latency: batches without a load, not a serving benchmark"
    if {"elapsed_time", "num_requests", "tokens_per_second"} <= keys:
        return "vllm bench throughput: a batch without a load and latencies, no serving benchmark"
    return ""


def result(source: Document) -> ImportedRun:
    """Read one run; a detailed file's figures are recomputed from its requests."""
    prompts = source.count("num_prompts")
    summary, measured = without_chunk_gaps(_summary(source, prompts))
    rows = request_rows(source)
    concurrency = source.level("max_concurrency")
    if rows:
        summary, measured = _recomputed(rows, summary, concurrency)
    done, rate = summary.get("completed"), source.setting("request_rate")
    rest = leftovers(source.data, READ)
    printed = source.get("printed") is True
    return ImportedRun(
        source=source,
        tool="vllm bench serve" if not printed else "printed summary",
        model=source.text("model_id"),
        layout=_layout(source),
        gpu_type=next((t for n in GPUS if (t := source.text(n))), ""),
        started_at=_started(source.text("date")),
        input_len=mean_of(summary.get("total_input_tokens"), done),
        output_len=mean_of(summary.get("total_output_tokens"), done),
        asked=(_first(source, LENGTHS[0]), _first(source, LENGTHS[1])),
        num_prompts=prompts or _sent(summary),
        max_concurrency=concurrency,
        request_rate=rate,
        burstiness=source.number("burstiness") if rate is not None else None,
        replicate=max(source.count("run_number") or 0, 0),
        rounded=printed,
        summary=summary,
        measured={**rest.measured, **measured},
        labels={**({} if prompts else COUNTED), **_client(source), **rest.labels},
        rows=rows,
    )


def _summary(source: Document, prompts: int | None) -> dict[str, Number]:
    found: dict[str, Number] = {}
    for name in SAME_KEYS:
        read = source.count if name in COUNTS else source.number
        value = read(name)
        other = OTHER_NAMES.get(name)
        found[name] = read(other) if value is None and other else value
    found["failed"] = failed_of(found["failed"], found["completed"], prompts)
    into, out = source.number("input_throughput"), found["output_throughput"]
    total = total_rate(found["total_token_throughput"], into, out)
    return {**found, "total_token_throughput": total}


def _recomputed(
    rows: Any, summary: Mapping[str, Number], concurrency: int | None
) -> tuple[dict[str, Number], dict[str, Number]]:
    figures = figures_of(rows, goodput={}, max_concurrency=concurrency, percentiles_of_few=True)
    known = {name: value for name, value in figures.items() if name in SAME_KEYS}
    own = {name: value for name, value in figures.items() if name not in SAME_KEYS}
    said = {f"tool_{name}": summary.get(name) for name in ("output_throughput", "duration")}
    return {**known, "request_goodput": summary.get("request_goodput")}, {**said, **own}


def _sent(summary: Mapping[str, Number]) -> int | None:
    counts = [summary.get(name) for name in ("completed", "failed")]
    return round(sum(count or 0 for count in counts)) if counts[0] is not None else None


def _first(source: Document, names: tuple[str, ...]) -> int | None:
    return next((length for name in names if (length := source.level(name))), None)


def _client(source: Document) -> dict[str, str]:
    """The backend is the client's way to speak; it does not say what served."""
    backend, endpoint = source.text("backend"), source.text("endpoint_type")
    said = {"client_backend": backend or endpoint}
    if endpoint not in ("", backend):
        said["endpoint_type"] = endpoint  # newer versions repeat the backend there
    return {name: text for name, text in said.items() if text}


def _layout(source: Document) -> Layout | None:
    degrees = {
        axis: next((n for name in names if (n := source.level(name))), None)
        for axis, names in DEGREES.items()
    }
    ep = any(source.flag(name) for name in EXPERT_PARALLEL)
    return layout_of(degrees["tp"], degrees["pp"], degrees["dp"], ep=ep)


def _started(date: str) -> str:
    """`20261121-224127` in local time of unknown zone, or ISO already."""
    try:
        return datetime.strptime(date, "%Y%m%d-%H%M%S").isoformat()  # noqa: DTZ007
    except ValueError:
        return date[:40]
