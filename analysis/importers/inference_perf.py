"""inference-perf: `stage_N_lifecycle_metrics.json`, in seconds.

The summary of all stages repeats them under no load of its own; the Prometheus report beside them
counts the server's view of the same requests. Neither is a run.
"""

from analysis.importers.document import Document
from analysis.importers.leftovers import leftovers
from analysis.importers.result import (
    COUNTED,
    ImportedRun,
    Number,
    distribution,
    without_chunk_gaps,
)

NAMES = {
    "mean": "mean", "median": "median", "std": "std_dev", "p90": "p90", "p95": "p95", "p99": "p99",
}  # fmt: skip
METRICS = {
    "ttft": "time_to_first_token",
    "tpot": "time_per_output_token",
    "itl": "inter_token_latency",
    "e2el": "request_latency",
}
READ = (
    "successes", "failures", "load_summary", "goodput_metrics", "benchmark_time_seconds",
)  # fmt: skip
LOADS = ("requested_rate", "concurrency", "concurrency_level")


def matches(source: Document) -> bool:
    return _is_report(source) and {"latency", "throughput"} <= set(source.get("successes"))


def _is_report(source: Document) -> bool:
    whole = {"load_summary", "successes", "failures"} <= set(source.data)
    return whole and isinstance(source.get("successes"), dict)


def is_repeat(source: Document) -> str:
    """Why a report is no run of its own."""
    if not _is_report(source):
        return ""
    if not matches(source):
        return (
            "inference-perf's report of Prometheus metrics; the runs are stage_N_lifecycle_metrics"
        )
    is_summary = source.path.name.startswith("summary_")
    says_load = any(source.setting(f"load_summary.{name}") for name in LOADS)
    if is_summary and not says_load:
        return "repeats the stages beside it; give stage_N_lifecycle_metrics.json"
    return ""


def result(source: Document) -> ImportedRun:
    """Read a stage."""
    good = source.part("successes")
    done = good.count("count")
    concurrency = source.level("load_summary.concurrency") or source.level(
        "load_summary.concurrency_level"
    )
    # In a closed loop the tool fills in a rate of its own making.
    rate = None if concurrency else source.setting("load_summary.requested_rate")
    summary, gaps = without_chunk_gaps(_summary(source, good))
    rest = leftovers(source.data, READ)
    load = leftovers(source.get("load_summary"), ("count", *LOADS), prefix="load")
    words = {name: value for name, value in load.labels.items() if isinstance(value, str)}
    return ImportedRun(
        source=source,
        tool="inference-perf",
        input_len=good.number("prompt_tokens.mean") or good.number("prompt_len.mean"),
        output_len=good.number("output_tokens.mean") or good.number("output_len.mean"),
        num_prompts=source.count("load_summary.count") or done,
        max_concurrency=concurrency,
        request_rate=rate,
        summary=summary,
        measured=gaps,
        labels={**COUNTED, **rest.labels, **words},
    )


def _summary(source: Document, good: Document) -> dict[str, Number]:
    throughput = good.part("throughput")
    done = good.count("count")
    requests = throughput.number("requests_per_sec")
    duration = source.number("benchmark_time_seconds")
    if duration is None and done and requests:
        duration = done / requests
    latencies: dict[str, Number] = {}
    for metric, key in METRICS.items():
        latencies |= distribution(good, f"latency.{key}", NAMES, metric, times=1e3)
    return {
        "duration": duration,
        "completed": done,
        "failed": source.count("failures.count"),
        "total_input_tokens": _tokens(good, "prompt", done),
        "total_output_tokens": _tokens(good, "output", done),
        "request_throughput": requests,
        "output_throughput": throughput.number("output_tokens_per_sec"),
        "total_token_throughput": throughput.number("total_tokens_per_sec"),
        "request_goodput": source.number("goodput_metrics.request_goodput"),
        **latencies,
    }


def _tokens(good: Document, side: str, done: int | None) -> int | None:
    """Older versions give the mean length alone."""
    total = good.count(f"{side}_tokens.total")
    return good.total(f"{side}_len.mean", done) if total is None else total
