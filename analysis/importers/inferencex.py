"""InferenceX's aggregate JSON: seconds, throughputs per GPU, layout by degree.

Three shapes: rows in a list or under `benchmarks`, rows with their figures under `metrics`, and
the agentic schema with `request_metrics`. The first two keep neither counts nor the duration;
their runs send ten requests a concurrent user. Rows of several nodes name the degrees of a prefill
and a decode pool; where the pools are apart, `output_tput_per_gpu` is over the decoding GPUs alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.importers.document import Document
from analysis.importers.labels import layout_of
from analysis.importers.leftovers import leftovers
from analysis.importers.result import STATISTICS, ImportedRun, Number
from strategies import Layout

PROMPTS_PER_USER = 10
METRICS = ("ttft", "tpot", "itl", "e2el")
NAMES = {"mean": "mean", "median": "p50", "std": "std", "p90": "p90", "p95": "p95", "p99": "p99"}
POOLS = ("prefill_", "decode_")
ROWS = ("benchmarks", "results", "rows", "data")
GPU_TYPES = ("hw", "hardware")
READ = (
    *GPU_TYPES, "conc", "model", "framework", "tp", "pp", "ep", "dp_attention", "isl", "osl",
    "num_gpus", "num_prefill_gpu", "num_decode_gpu", "tput_per_gpu", "output_tput_per_gpu",
    "input_tput_per_gpu", "num_requests_total", "num_requests_successful", "request_metrics",
    "metrics", *(f"{s}_{m}" for s in STATISTICS for m in METRICS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Gpus:
    all: int | None
    output: int | None
    """Those that throughput of output is per."""
    apart: bool = False


def rows(source: Document) -> list[Document]:
    """The rows of a file: the object itself, or those it wraps."""
    if _is_row(source.data):
        return [source]
    for name in ROWS:
        wrapped = source.get(name)
        if isinstance(wrapped, list) and wrapped and all(_is_row(item) for item in wrapped):
            place = f"{source.place}.{name}" if source.place else name
            return [
                Document(item, source.path, place=f"{place}.{index}")
                for index, item in enumerate(wrapped)
            ]
    return []


def _is_row(data: Any) -> bool:
    if not isinstance(data, Mapping) or "conc" not in data or not {"tp", "decode_tp"} & set(data):
        return False
    nested = data.get("metrics")
    keys = set(data) | (set(nested) if isinstance(nested, Mapping) else set())
    return "tput_per_gpu" in keys or isinstance(data.get("request_metrics"), Mapping)


def matches(source: Document) -> bool:
    return bool(rows(source))


def results(source: Document) -> list[ImportedRun]:
    return [_result(row) for row in rows(source)]


def _result(source: Document) -> ImportedRun:
    nested = source.get("metrics")
    if isinstance(nested, Mapping):
        source = Document({**source.data, **nested}, source.path, place=source.place)
    layout = _layout(source)
    gpus = _gpus(source, layout)
    concurrency = source.level("conc")
    is_agentic = isinstance(source.get("request_metrics"), Mapping)
    known = source.count("num_requests_total")
    rest = leftovers(source.data, (*READ, *(nested if isinstance(nested, Mapping) else ())))
    prompts = known or (PROMPTS_PER_USER * concurrency if concurrency else None)
    return ImportedRun(
        source=source,
        tool="inferencex",
        model=source.text("model"),
        engine=source.text("framework"),
        layout=layout,
        num_gpus=gpus.all,
        gpu_type=next((text for name in GPU_TYPES if (text := source.text(name))), ""),
        asked=(source.level("isl"), source.level("osl")),
        num_prompts=prompts,
        max_concurrency=concurrency,
        summary=_agentic(source, gpus) if is_agentic else _flat(source, gpus),
        measured=rest.measured,
        labels={**({} if known else {"num_prompts_source": "10 a user by rule"}), **rest.labels},
    )


def _flat(source: Document, gpus: _Gpus) -> dict[str, Number]:
    summary: dict[str, Number] = {
        f"{s}_{metric}_ms": source.number(f"{s}_{metric}", times=1e3)
        for metric in METRICS
        for s in STATISTICS
    }
    return summary | _per_gpu(source, "output_tput_per_gpu", "tput_per_gpu", gpus)


def _per_gpu(source: Document, output: str, total: str, gpus: _Gpus) -> dict[str, Number]:
    found: dict[str, Number] = {}
    if not gpus.apart:
        found["output_throughput_per_gpu"] = source.number(output)
    if gpus.output:
        found["output_throughput"] = source.number(output, times=gpus.output)
    if gpus.all:
        found["total_token_throughput"] = source.number(total, times=gpus.all)
    return found


def _agentic(source: Document, gpus: _Gpus) -> dict[str, Number]:
    figures = source.part("request_metrics")
    summary: dict[str, Number] = {
        f"{s}_{metric}_ms": figures.number(f"latency.{metric}.{key}", times=1e3)
        for metric in METRICS
        for s, key in NAMES.items()
    }
    rates = "throughput.per_gpu"
    per_gpu = _per_gpu(figures, f"{rates}.output_tput_tps", f"{rates}.total_tput_tps", gpus)
    total = figures.number("throughput.output.tokens_per_second")
    done, sent = source.count("num_requests_successful"), source.count("num_requests_total")
    duration = figures.number("throughput.duration_seconds")
    return {
        **summary,
        **per_gpu,
        **({"output_throughput": total} if total is not None else {}),
        "duration": duration,
        "completed": done,
        "failed": None if done is None or sent is None else max(sent - done, 0),
        "request_throughput": done / duration if done is not None and duration else None,
    }


def _layout(source: Document) -> Layout | None:
    """Attention replicated over the ranks (`dp_attention`) is data parallelism in vLLM's terms."""
    if source.flag("disagg") or (source.level("pcp_size") or 1) > 1:
        return None
    pools = [_of_pool(source, pool) for pool in (POOLS if source.get("tp") is None else ("",))]
    return pools[0] if all(pool == pools[0] for pool in pools) else None


def _of_pool(source: Document, pool: str) -> Layout | None:
    tp, pp, ep = (source.level(f"{pool}{name}") for name in ("tp", "pp", "ep"))
    spread = (ep or 1) > 1
    if source.flag(f"{pool}dp_attention"):
        return layout_of(1, pp, tp, ep=spread)
    return layout_of(tp, pp, None, ep=spread)


def _gpus(source: Document, layout: Layout | None) -> _Gpus:
    """GPUs of pools that are apart are their sum; one server for both counts in each, or in one."""
    pools = [source.level(f"num_{pool}gpu") or 0 for pool in POOLS]
    if source.flag("disagg"):
        everyone = sum(pools)
        return _Gpus(everyone or source.level("num_gpus"), pools[1] or everyone, apart=True)
    degrees = [source.level(name) or 1 for name in ("tp", "pp", "pcp_size")]
    known = layout.num_gpus if layout else math.prod(degrees) if source.level("tp") else None
    found = source.level("num_gpus") or max(pools) or known
    return _Gpus(found, found)
