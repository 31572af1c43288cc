"""GuideLLM 0.7 and later: one file holds several benchmarks.

End-to-end latency is in seconds, the others in milliseconds. `time_per_output_token_ms` counts the
first token and is not moeserve's TPOT. `inter_token_latency_ms` is each request's mean gap,
weighted by its tokens: its mean is the mean ITL, and where all outputs have one length its
distribution is that of TPOT.
"""

from datetime import UTC, datetime

from analysis.importers.document import Document
from analysis.importers.result import Number, Result, distribution

NAMES = {
    "mean": "mean", "median": "median", "std": "std_dev",
    "p90": "percentiles.p90", "p95": "percentiles.p95", "p99": "percentiles.p99",
}  # fmt: skip


def matches(source: Document) -> bool:
    return isinstance(source.get("benchmarks"), list) and "guidellm_version" in (
        source.get("metadata") or {}
    )


def results(source: Document) -> list[Result]:
    """Read every benchmark of a file."""
    return [
        _result(source.part(f"benchmarks.{index}"))
        for index in range(len(source.get("benchmarks")))
    ]


def _result(source: Document) -> Result:
    metrics = source.part("metrics")
    totals = metrics.part("request_totals")
    duration = source.number("duration")
    done, failed = totals.count("successful"), totals.count("errored")
    tokens = {
        side: metrics.count(f"{side}_token_count.successful.total_sum")
        for side in ("prompt", "output")
    }
    lengths = {
        side: metrics.number(f"{side}_token_count.successful.mean") for side in ("prompt", "output")
    }
    summary: dict[str, Number] = {
        "duration": duration,
        "completed": done,
        "failed": failed,
        "total_input_tokens": tokens["prompt"],
        "total_output_tokens": tokens["output"],
        "request_throughput": _rate(done, duration),
        "output_throughput": _rate(tokens["output"], duration),
        "total_token_throughput": _rate(_sum(tokens["prompt"], tokens["output"]), duration),
        "effective_concurrency": metrics.number("request_concurrency.successful.mean"),
        "mean_itl_ms": metrics.number("inter_token_latency_ms.successful.mean"),
        **distribution(metrics, "time_to_first_token_ms.successful", NAMES, "ttft"),
        **distribution(metrics, "request_latency.successful", NAMES, "e2el", times=1e3),
    }
    if metrics.number("output_token_count.successful.std_dev") == 0:
        summary |= distribution(metrics, "inter_token_latency_ms.successful", NAMES, "tpot")
    total = totals.count("total") or done or 0
    start = source.number("start_time")
    rates = source.number("config.strategy.rate")
    return Result(
        source=source,
        tool="guidellm",
        model=source.text("config.backend.model"),
        started_at=datetime.fromtimestamp(start, UTC).isoformat() if start else "",
        input_len=None if lengths["prompt"] is None else round(lengths["prompt"]),
        output_len=None if lengths["output"] is None else round(lengths["output"]),
        num_prompts=total,
        max_concurrency=source.count("config.strategy.streams")
        or source.count("config.strategy.max_concurrency"),
        request_rate=rates,
        complete=not totals.count("incomplete"),
        summary=summary,
        extra={
            "tool_output_throughput": metrics.number("output_tokens_per_second.successful.mean"),
            "incomplete": totals.count("incomplete"),
        },
    )


def _rate(amount: Number, duration: float | None) -> float | None:
    return amount / duration if amount is not None and duration else None


def _sum(left: int | None, right: int | None) -> int | None:
    return left + right if left is not None and right is not None else None
