"""TensorRT-LLM's `trtllm-bench throughput --report_json`: milliseconds, one object a run.

It names neither the concurrency that was asked for nor whether attention was data parallel, so
its rows have no load and no layout until a user gives them; the degrees are labels.
"""

from analysis.importers.document import Document
from analysis.importers.leftovers import leftovers
from analysis.importers.result import ImportedRun, Number, distribution

NAMES = {"mean": "average", "median": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
METRICS = {
    "e2el": "performance.request_latency_percentiles_ms",
    "ttft": "streaming_metrics.ttft_percentiles",
    "tpot": "streaming_metrics.tpot_percentiles",
}
MEANS = {
    "e2el": "performance.avg_request_latency_ms",
    "ttft": "streaming_metrics.avg_ttft_ms",
    "tpot": "streaming_metrics.avg_tpot_ms",
}
RATES = {
    "request_throughput": "request_throughput_req_s",
    "output_throughput": "system_output_throughput_tok_s",
    "total_token_throughput": "system_total_throughput_tok_s",
}
# Where the checkpoint lies, and the rate at which a queue was filled, tell no systems apart.
NOT_SETTINGS = ("model", "model_path", "engine_dir", "version", "issue_rate", "world_size")


def matches(source: Document) -> bool:
    return (
        source.get("performance.system_output_throughput_tok_s") is not None
        and source.get("world_info.world_size") is not None
    )


def result(source: Document) -> ImportedRun:
    requests = source.part("request_info")
    done = requests.count("num_requests")
    lengths = {side: requests.number(f"avg_{side}_length") for side in ("input", "output")}
    labels = {
        **leftovers(source.get("engine"), NOT_SETTINGS, settings_only=True).labels,
        **leftovers(source.get("world_info"), NOT_SETTINGS, settings_only=True).labels,
        **leftovers({"decoding": source.get("decoding_stats.mode")}, settings_only=True).labels,
    }
    version = source.text("engine.version")
    return ImportedRun(
        source=source,
        tool="trtllm-bench",
        model=source.text("engine.model"),
        engine="tensorrt-llm",
        num_gpus=source.level("world_info.world_size"),
        input_len=lengths["input"],
        output_len=lengths["output"],
        num_prompts=done,
        summary=_summary(source, requests, done),
        labels={**labels, **({"engine_version": version} if version else {})},
    )


def _summary(source: Document, requests: Document, done: int | None) -> dict[str, Number]:
    found: dict[str, Number] = {
        "duration": source.number("performance.total_latency_ms", times=1e-3),
        "completed": done,
        "total_input_tokens": requests.total("avg_input_length", done),
        "total_output_tokens": requests.total("avg_output_length", done),
        "effective_concurrency": requests.number("avg_num_concurrent_requests"),
    }
    for name, key in RATES.items():
        found[name] = source.number(f"performance.{key}")
    for metric, path in METRICS.items():
        found |= distribution(source, path, NAMES, metric)
        mean = source.number(MEANS[metric])
        found[f"mean_{metric}_ms"] = found[f"mean_{metric}_ms"] if mean is None else mean
    return found
