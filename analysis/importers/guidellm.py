"""GuideLLM from 0.5 on: one file holds several benchmarks.

End-to-end latency is in seconds, the others in milliseconds. `time_per_output_token_ms` counts the
first token and is not moeserve's TPOT. `inter_token_latency_ms` is each request's mean gap,
weighted by its tokens: its mean is the mean ITL, and where all outputs have one length its
distribution is that of TPOT.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from analysis.importers.document import Document
from analysis.importers.leftovers import Scalar, leftovers
from analysis.importers.result import COUNTED, ImportedRun, Number, distribution

NAMES = {
    "mean": "mean", "median": "median", "std": "std_dev",
    "p90": "percentiles.p90", "p95": "percentiles.p95", "p99": "percentiles.p99",
}  # fmt: skip
SAME = 0.01
LIMITS = ("max_duration", "max_seconds", "max_errors", "max_error_rate", "over_saturation")
# Of a benchmark's configuration: its load (in columns of its own) and what is no setting.
NOT_SETTINGS = (
    "id_", "run_id", "run_index", "strategy", "profile", "constraints", "environment", "warnings",
    "requests", "model", "sample_size", "target", "api_routes", "confidence", "slo",
)  # fmt: skip


def matches(source: Document) -> bool:
    return isinstance(source.get("benchmarks"), list) and "guidellm_version" in (
        source.get("metadata") or {}
    )


def is_older(source: Document) -> bool:
    """A report from before 0.5, which named no version of the tool."""
    first = source.get("benchmarks.0")
    return not matches(source) and isinstance(first, Mapping) and "run_stats" in first


def results(source: Document) -> list[ImportedRun]:
    """Read every benchmark of a file."""
    version = source.text("metadata.guidellm_version")
    return [
        _result(source.part(f"benchmarks.{index}"), version)
        for index in range(len(source.get("benchmarks")))
    ]


def _result(source: Document, version: str) -> ImportedRun:
    metrics = source.part("metrics")
    totals = metrics.part("request_totals")
    duration, is_cut = _window(source)
    done, failed = totals.count("successful"), totals.count("errored")
    open_requests = totals.count("incomplete")
    concurrency = source.level("config.strategy.streams") or source.level(
        "config.strategy.max_concurrency"
    )
    return ImportedRun(
        source=source,
        tool="guidellm",
        model=source.text("config.backend.model"),
        started_at=_started(source.number("start_time")),
        input_len=metrics.number("prompt_token_count.successful.mean"),
        output_len=metrics.number("output_token_count.successful.mean"),
        asked=(None, None),
        num_prompts=totals.count("total") or done,
        max_concurrency=concurrency or _one_at_a_time(source),
        request_rate=source.setting("config.strategy.rate"),
        complete=_ended_as_asked(source, open_requests or 0, concurrency),
        summary={
            **_counts(metrics, done, failed),
            **_throughputs(
                metrics, done, duration, open_at_the_edges=is_cut or bool(open_requests)
            ),
            **_latencies(metrics),
        },
        measured={
            "tool_output_throughput": metrics.number("output_tokens_per_second.successful.mean"),
            "tool_duration": source.number("duration"),
            "tool_incomplete": open_requests,
        },
        labels=_labels(source, version),
    )


def _window(source: Document) -> tuple[float | None, bool]:
    """Seconds from the first to the last measured request, and whether edges cut requests.

    A warm-up or cool-down cuts the window out of the run; it may end after the last request.
    """
    duration = source.number("duration")
    edges = [source.number(f"{edge}_duration") for edge in ("warmup", "cooldown")]
    start = source.number("scheduler_metrics.measure_start_time")
    end = source.number("scheduler_metrics.measure_end_time")
    last = source.number("scheduler_metrics.request_end_time")
    if start is None or end is None or last is None:
        return duration, any(edges)
    until = min(end, last)
    return (until - start if until > start else duration), any(edges)


def _counts(metrics: Document, done: int | None, failed: int | None) -> dict[str, Number]:
    return {
        "completed": done,
        "failed": failed,
        "total_input_tokens": metrics.count("prompt_token_count.successful.total_sum"),
        "total_output_tokens": metrics.count("output_token_count.successful.total_sum"),
        "effective_concurrency": metrics.number("request_concurrency.successful.mean"),
    }


def _throughputs(
    metrics: Document, done: int | None, duration: float | None, *, open_at_the_edges: bool
) -> dict[str, Number]:
    """Amounts over the window; where its edges cut requests, GuideLLM's integrals over time."""
    amounts: dict[str, tuple[Number, str]] = {
        "request_throughput": (done, "requests_per_second"),
        "output_throughput": (
            metrics.count("output_token_count.successful.total_sum"), "output_tokens_per_second",
        ),
        "total_token_throughput": (_tokens(metrics), "tokens_per_second"),
    }  # fmt: skip
    found: dict[str, Number] = {"duration": duration}
    tokens = metrics.number("tokens_per_second.successful.mean")
    for name, (amount, own) in amounts.items():
        counted = _rate(metrics, amount, duration)
        integrated = metrics.number(f"{own}.successful.mean")
        cut = open_at_the_edges and integrated is not None
        found[name] = integrated if cut or counted is None else counted
        off = cut and counted is not None and abs(counted - (integrated or 0)) > SAME * counted
        if name == "output_throughput" and off and tokens is None:
            # Counted by requests that finished, all tokens would not belong to the same seconds.
            return found | {"total_token_throughput": None}
    return found


def _rate(source: Document, amount: Number, duration: float | None) -> float | None:
    """What there was a second, None where that is not known."""
    if amount is None or not duration:
        return None
    try:
        found = amount / duration
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise source.bad(f"{str(amount)[:20]} in a duration of {duration:g} s is no rate")
    return found


def _tokens(metrics: Document) -> int | None:
    sides = [metrics.count(f"{s}_token_count.successful.total_sum") for s in ("prompt", "output")]
    return None if None in sides else sum(side or 0 for side in sides)


def _latencies(metrics: Document) -> dict[str, Number]:
    found = {
        "mean_itl_ms": metrics.number("inter_token_latency_ms.successful.mean"),
        **distribution(metrics, "time_to_first_token_ms.successful", NAMES, "ttft"),
        **distribution(metrics, "request_latency.successful", NAMES, "e2el", times=1e3),
    }
    if metrics.number("output_token_count.successful.std_dev") == 0:
        found |= distribution(metrics, "inter_token_latency_ms.successful", NAMES, "tpot")
    return found


def _ended_as_asked(source: Document, open_requests: int, streams: int | None) -> bool:
    """Requests in flight when the time ended are no interruption: a limit was reached.

    A closed loop can leave as many open as it has streams; more tell that it was stopped otherwise,
    unless the file names a limit that ends a run.
    """
    if open_requests <= (streams or 0):
        return True
    limits = source.get("config.constraints")
    states = str(source.get("scheduler_state.end_processing_constraints"))
    named = str(limits) if isinstance(limits, Mapping) else ""
    return any(limit in named or limit in states for limit in LIMITS)


def _one_at_a_time(source: Document) -> int | None:
    return 1 if source.text("config.strategy.type_") == "synchronous" else None


def _labels(source: Document, version: str) -> dict[str, Scalar]:
    config = source.get("config")
    settings: Mapping[str, Any] = config if isinstance(config, Mapping) else {}
    labels = leftovers(settings, NOT_SETTINGS, settings_only=True).labels
    backend = settings.get("backend")
    for name in ("model", "target") if isinstance(backend, Mapping) else ():
        labels.pop(f"backend_{name}", None)
    kind = source.text("config.strategy.type_")
    by_count = "max_requests" in str(settings.get("constraints"))
    return {
        **({} if by_count else COUNTED),
        **({"client_version": version} if version else {}),
        **({"load_strategy": kind} if kind else {}),
        **labels,
    }


def _started(start: float | None) -> str:
    try:
        return datetime.fromtimestamp(start, UTC).isoformat() if start else ""
    except (OverflowError, OSError, ValueError):
        return ""
