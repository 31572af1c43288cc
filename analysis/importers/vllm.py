"""`vllm bench serve` (Python and Rust), its detailed files, and `vllm bench sweep`.

Summaries are in milliseconds, arrays in seconds. ITL is the gap between streamed chunks, TPOT is
per request without the first token, and both run from the moment a request was sent.
"""

from datetime import datetime

import numpy as np

from analysis.importers.document import Document
from analysis.importers.labels import layout_of
from analysis.importers.result import STATISTICS, Number, Result, mean_length, without_chunk_gaps
from orchestrator.outcome import figures_of
from strategies import Layout
from workloads.transcript import RequestRow

SAME_KEYS = (
    "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput",
    *(f"{s}_{m}_ms" for m in ("ttft", "tpot", "itl", "e2el") for s in STATISTICS),
)  # fmt: skip
COUNTS = ("completed", "failed", "total_input_tokens", "total_output_tokens")
ARRAYS = ("start_times", "ttfts", "itls", "input_lens", "output_lens", "errors")
# Names under which a sweep repeats the server's arguments in each run's file.
DEGREES = {
    "tp": ("tensor_parallel_size", "tp", "tensor-parallel-size"),
    "pp": ("pipeline_parallel_size", "pp", "pipeline-parallel-size"),
    "dp": ("data_parallel_size", "dp", "data-parallel-size"),
}


def matches(source: Document) -> bool:
    return "total_token_throughput" in source.data and "model_id" in source.data


def result(source: Document) -> Result:
    """Read one run; a detailed file's figures are recomputed from its requests."""
    plain = {name: source.number(name) for name in SAME_KEYS}
    summary: dict[str, Number] = {**plain, **{n: source.count(n) for n in COUNTS}}
    summary, extra = without_chunk_gaps(summary)
    rows = _rows(source)
    concurrency = source.count("max_concurrency")
    if rows:
        extra |= {f"tool_{name}": summary.get(name) for name in ("output_throughput", "duration")}
        goodput = summary.get("request_goodput")
        figures = figures_of(rows, goodput={}, max_concurrency=concurrency)
        known = {name: value for name, value in figures.items() if name in SAME_KEYS}
        extra |= {name: value for name, value in figures.items() if name not in SAME_KEYS}
        summary = {**known, "request_goodput": goodput}
        summary["effective_concurrency"] = extra.pop("effective_concurrency", None)
    requests = source.count("num_prompts") or 0
    rate = source.get("request_rate")
    done = summary.get("completed")
    return Result(
        source=source,
        tool="vllm bench serve",
        model=source.text("model_id"),
        backend=source.text("backend"),
        layout=_layout(source),
        started_at=_started(source.text("date")),
        input_len=mean_length(summary.get("total_input_tokens"), done),
        output_len=mean_length(summary.get("total_output_tokens"), done),
        num_prompts=requests,
        max_concurrency=concurrency,
        request_rate=None if rate in ("inf", None) else source.number("request_rate"),
        burstiness=None if rate in ("inf", None) else source.number("burstiness"),
        replicate=source.count("run_number") or 0,
        summary=summary,
        extra=extra,
        rows=rows,
    )


def _layout(source: Document) -> Layout | None:
    degrees = {
        axis: next((source.count(n) for n in names if source.get(n) is not None), None)
        for axis, names in DEGREES.items()
    }
    flags = ("enable_expert_parallel", "enable-expert-parallel", "ep")
    ep = any(source.get(name) in (True, "True", "true", 1.0) for name in flags)
    return layout_of(degrees["tp"], degrees["pp"], degrees["dp"], ep=ep)


def _rows(source: Document) -> tuple[RequestRow, ...]:
    """Requests of a detailed file; times from the first request's send."""
    arrays = [source.get(name) for name in ARRAYS]
    if not all(isinstance(array, list) for array in arrays):
        return ()
    if len({len(array) for array in arrays}) != 1:
        raise source.bad(f"{', '.join(ARRAYS)} have different lengths")
    starts, ttfts, gaps, inputs, outputs, errors = arrays
    if not starts:
        return ()
    waits = source.get("queue_times") or [0.0] * len(starts)
    open_loop = source.get("request_rate") not in ("inf", None)
    first = min(starts)
    try:
        return tuple(
            _row(
                i,
                (starts[i] - first, waits[i] if open_loop else 0.0, ttfts[i]),
                gaps[i],
                (inputs[i], outputs[i]),
                errors[i] or "",
            )
            for i in range(len(starts))
        )
    except (TypeError, IndexError, ValueError) as error:
        raise source.bad(f"the per-request arrays do not hold numbers ({error})") from None


def _row(
    index: int,
    times: tuple[float, float, float],
    gaps: list[float],
    tokens: tuple[int, int],
    error: str,
) -> RequestRow:
    sent, wait, ttft = times
    if error or not ttft:
        kind = error.strip().splitlines()[-1][:80] if error.strip() else "no tokens"
        return RequestRow(
            request=index, due_s=sent - wait, sent_s=sent, done_s=sent + sum(gaps) + ttft,
            input_tokens=tokens[0], status="failed", error_class="peer", error=kind,
        )  # fmt: skip
    stamps = sent + ttft + np.concatenate([[0.0], np.cumsum(gaps)])
    # Chunks of several tokens: only their own times are known, not those of each token.
    is_token = len(stamps) == tokens[1]
    return RequestRow(
        request=index,
        due_s=sent - wait,
        sent_s=sent,
        first_token_s=float(stamps[0]),
        done_s=float(stamps[-1]),
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        token_times_s=stamps if is_token else np.empty(0),
        events=len(stamps),
    )


def _started(date: str) -> str:
    """`20261121-224127` in local time of unknown zone, or ISO already."""
    try:
        return datetime.strptime(date, "%Y%m%d-%H%M%S").isoformat()  # noqa: DTZ007
    except ValueError:
        return date
