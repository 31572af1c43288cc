"""LLMPerf's `…_summary.json`: flattened keys, seconds.

Its inter-token latency divides the whole request, first token included, by the output tokens: it is
neither ITL nor TPOT and stands apart as `tool_mean_time_per_token_ms`.
"""

from collections.abc import Mapping
from typing import Any

from analysis.importers.document import Document
from analysis.importers.leftovers import leftovers
from analysis.importers.result import COUNTED, ImportedRun, Number

NAMES = {
    "mean": "mean", "median": "quantiles_p50", "std": "stddev",
    "p90": "quantiles_p90", "p95": "quantiles_p95", "p99": "quantiles_p99",
}  # fmt: skip
PREFIX = "results_"
REQUEST = {"ttft_s", "end_to_end_latency_s", "number_output_tokens"}
READ = (
    "model", "version", "name", "mean_input_tokens", "mean_output_tokens",
    "num_concurrent_requests", "timestamp", "results", "stddev_input_tokens",
    "stddev_output_tokens",
)  # fmt: skip


def matches(source: Document) -> bool:
    data = _flat(source.data)
    return f"{PREFIX}ttft_s_mean" in data and f"{PREFIX}num_completed_requests" in data


def is_request(source: Document) -> bool:
    """An element of `…_individual_responses.json`."""
    return set(source.data) >= REQUEST


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested results read like flattened ones."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name.startswith("results") and prefix.count("_") < 8:
            found |= _flat(value, f"{name}_")
        else:
            found[name] = value
    return found


def result(source: Document) -> ImportedRun:
    flat = Document(_flat(source.data), source.path, place=source.place)
    done = flat.count(f"{PREFIX}num_completed_requests")
    started = flat.count(f"{PREFIX}num_requests_started")
    rest = leftovers({k: v for k, v in source.data.items() if not k.startswith("results")}, READ)
    asked = [
        source.level(f"mean_{side}_tokens") if not source.number(f"stddev_{side}_tokens") else None
        for side in ("input", "output")
    ]
    means = [f"{PREFIX}number_{side}_tokens_mean" for side in ("input", "output")]
    totals = [flat.total(mean, done) for mean in means]
    version = source.text("version")
    return ImportedRun(
        source=source,
        tool="llmperf",
        model=source.text("model"),
        input_len=flat.number(means[0]),
        output_len=flat.number(means[1]),
        asked=(asked[0], asked[1]),
        num_prompts=started or done,
        max_concurrency=source.level("num_concurrent_requests"),
        summary=_summary(flat, done, started, totals),
        measured={
            "tool_mean_time_per_token_ms": flat.number(
                f"{PREFIX}inter_token_latency_s_mean", times=1e3
            )
        },
        labels={
            **COUNTED,
            **({"client_version": version} if version else {}),
            **_spread(source),
            **rest.labels,
        },
    )


def _summary(
    flat: Document, done: int | None, started: int | None, totals: list[int | None]
) -> dict[str, Number]:
    errors = flat.count(f"{PREFIX}number_errors")
    per_minute = flat.number(f"{PREFIX}num_completed_requests_per_min")
    duration = done * 60 / per_minute if done and per_minute else None
    return {
        "duration": duration,
        "completed": done,
        "failed": _failed(errors, done, started),
        "total_input_tokens": totals[0],
        "total_output_tokens": totals[1],
        "request_throughput": per_minute / 60 if per_minute is not None else None,
        "output_throughput": flat.number(f"{PREFIX}mean_output_throughput_token_per_s"),
        **_distribution(flat, "ttft_s", "ttft"),
        **_distribution(flat, "end_to_end_latency_s", "e2el"),
    }


def _distribution(flat: Document, key: str, metric: str) -> dict[str, Number]:
    return {
        f"{statistic}_{metric}_ms": flat.number(f"{PREFIX}{key}_{name}", times=1e3)
        for statistic, name in NAMES.items()
    }


def _failed(errors: int | None, done: int | None, started: int | None) -> int | None:
    """Requests still open when the time ended were started, and are no failures."""
    if errors is not None:
        return errors
    return started - done if started is not None and done is not None and started >= done else None


def _spread(source: Document) -> dict[str, float]:
    names = ("stddev_input_tokens", "stddev_output_tokens")
    return {name: value for name in names if (value := source.number(name))}
