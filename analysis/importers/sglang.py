"""SGLang's `bench_serving`: JSON lines, milliseconds, `e2e_latency` for `e2el`."""

from analysis.importers.document import Document
from analysis.importers.result import STATISTICS, Number, Result, mean_length, without_chunk_gaps

METRICS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "e2e_latency"}


def matches(source: Document) -> bool:
    return "mean_e2e_latency_ms" in source.data and "total_throughput" in source.data


def result(source: Document) -> Result:
    """Read one line; `concurrency` is the measured mean in flight, not the setting."""
    summary: dict[str, Number] = {
        f"{s}_{ours}_ms": source.number(f"{s}_{theirs}_ms")
        for ours, theirs in METRICS.items()
        for s in STATISTICS
    }
    summary, extra = without_chunk_gaps(summary)
    done = source.count("completed")
    inputs, outputs = source.count("total_input_tokens"), source.count("total_output_tokens")
    summary |= {
        "duration": source.number("duration"),
        "completed": done,
        "total_input_tokens": inputs,
        "total_output_tokens": outputs,
        "request_throughput": source.number("request_throughput"),
        "request_goodput": source.number("request_goodput"),
        "output_throughput": source.number("output_throughput"),
        "total_token_throughput": source.number("total_throughput"),
        "effective_concurrency": source.number("concurrency"),
    }
    rate = source.get("request_rate")
    return Result(
        source=source,
        tool="sglang bench_serving",
        model=source.text("server_info.model_path") or source.text("model"),
        backend=source.text("backend"),
        input_len=mean_length(inputs, done),
        output_len=mean_length(outputs, done),
        # The file counts completed requests only: how many were sent it does not say.
        num_prompts=source.count("num_prompts") or done or 0,
        max_concurrency=source.count("max_concurrency"),
        request_rate=None if rate in ("inf", None) else source.number("request_rate"),
        summary=summary,
        extra=extra,
    )
