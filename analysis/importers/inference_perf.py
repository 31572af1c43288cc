"""inference-perf: `stage_N_lifecycle_metrics.json` or the summary of all stages, in seconds."""

from analysis.importers.document import Document
from analysis.importers.result import Number, Result, distribution, without_chunk_gaps

NAMES = {"mean": "mean", "median": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
METRICS = {
    "ttft": "time_to_first_token",
    "tpot": "time_per_output_token",
    "itl": "inter_token_latency",
    "e2el": "request_latency",
}


def matches(source: Document) -> bool:
    return {"load_summary", "successes", "failures"} <= set(source.data)


def result(source: Document) -> Result:
    """Read a stage or the whole; a summary over stages does not say the load of each."""
    good = source.part("successes")
    done, failed = good.count("count"), source.count("failures.count")
    latencies: dict[str, Number] = {}
    for ours, theirs in METRICS.items():
        latencies |= distribution(good, f"latency.{theirs}", NAMES, ours, times=1e3)
    latencies, extra = without_chunk_gaps(latencies)
    concurrency = source.count("load_summary.concurrency")
    # In a closed loop the tool fills in a rate of its own making.
    rate = None if concurrency else source.number("load_summary.requested_rate")
    prompt = good.number("prompt_tokens.mean") or good.number("prompt_len.mean")
    output = good.number("output_tokens.mean") or good.number("output_len.mean")
    throughput = good.part("throughput")
    return Result(
        source=source,
        tool="inference-perf",
        model="",
        input_len=None if prompt is None else round(prompt),
        output_len=None if output is None else round(output),
        num_prompts=source.count("load_summary.count") or 0,
        max_concurrency=concurrency,
        request_rate=rate,
        summary={
            "duration": source.number("benchmark_time_seconds"),
            "completed": done,
            "failed": failed,
            "total_input_tokens": good.count("prompt_tokens.total"),
            "total_output_tokens": good.count("output_tokens.total"),
            "request_throughput": throughput.number("requests_per_sec"),
            "output_throughput": throughput.number("output_tokens_per_sec"),
            "total_token_throughput": throughput.number("total_tokens_per_sec"),
            "request_goodput": source.number("goodput_metrics.request_goodput"),
            **latencies,
        },
        extra=extra,
    )
