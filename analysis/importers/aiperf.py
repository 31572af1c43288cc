"""AIPerf (and genai-perf's tags): `profile_export_aiperf.json`, milliseconds.

Its inter-token latency is moeserve's TPOT; its inter-chunk latency is ITL when chunks are tokens.
"""

from analysis.importers.document import Document
from analysis.importers.result import Number, Result, distribution
from catalog.errors import BadFile

NAMES = {"mean": "avg", "median": "p50", "std": "std", "p90": "p90", "p95": "p95", "p99": "p99"}
UNITS = {
    "time_to_first_token": "ms", "inter_token_latency": "ms", "inter_chunk_latency": "ms",
    "request_latency": "ms", "output_token_throughput": "tokens/sec",
    "request_throughput": "requests/sec", "benchmark_duration": "sec",
}  # fmt: skip


def matches(source: Document) -> bool:
    return "aiperf_version" in source.data or (
        "input_config" in source.data and "request_latency" in source.data
    )


def is_records(source: Document) -> bool:
    """A line of `profile_export.jsonl`: one request, not a run."""
    return {"metadata", "metrics"} <= set(source.data) and "x_request_id" in str(
        source.get("metadata")
    )


def records_refused(source: Document) -> BadFile:
    return BadFile(source.path, "holds single requests; give profile_export_aiperf.json beside it")


def result(source: Document) -> Result:
    """Read one profile after checking that its units are the known ones."""
    for tag, unit in UNITS.items():
        stated = source.text(f"{tag}.unit")
        if stated and stated != unit:
            raise source.bad(f"{tag} is in {stated}, known is {unit}")
    tokens = source.count("total_output_tokens.avg")
    done = source.count("request_count.avg")
    failed = source.count("error_request_count.avg")
    summary: dict[str, Number] = {
        "duration": source.number("benchmark_duration.avg"),
        "completed": done,
        "failed": failed,
        "total_input_tokens": source.count("total_isl.avg"),
        "total_output_tokens": tokens,
        "request_throughput": source.number("request_throughput.avg"),
        "request_goodput": source.number("goodput.avg"),
        "output_throughput": source.number("output_token_throughput.avg"),
        "total_token_throughput": source.number("total_token_throughput.avg"),
        "effective_concurrency": source.number("effective_concurrency.avg"),
        **distribution(source, "time_to_first_token", NAMES, "ttft"),
        **distribution(source, "inter_token_latency", NAMES, "tpot"),
        **distribution(source, "request_latency", NAMES, "e2el"),
    }
    gaps = source.count("inter_chunk_latency.count")
    if gaps is not None and tokens is not None and done is not None and gaps == tokens - done:
        summary |= distribution(source, "inter_chunk_latency", NAMES, "itl")
    return Result(
        source=source,
        tool="aiperf",
        model=source.text("input_config.models.items.0.name"),
        started_at=source.text("start_time"),
        input_len=_whole(source.number("input_sequence_length.avg")),
        output_len=_whole(source.number("output_sequence_length.avg")),
        num_prompts=(done or 0) + (failed or 0),
        max_concurrency=_phase(source, "concurrency"),
        request_rate=_phase(source, "request_rate"),
        complete=source.get("was_cancelled") is not True and source.get("is_complete") is not False,
        summary=summary,
        extra={"server_prompt_tokens": source.count("total_usage_prompt_tokens.avg")},
    )


def _phase(source: Document, name: str) -> int | None:
    """A setting of the profiling phase, which follows a warm-up phase if there is one."""
    phases = source.get("input_config.phases")
    for index, phase in enumerate(phases if isinstance(phases, list) else []):
        if isinstance(phase, dict) and phase.get("kind") == "profiling":
            return source.count(f"input_config.phases.{index}.{name}")
    return source.count(f"input_config.loadgen.{name}")


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
