"""One imported result before it becomes a record: the numbers in moeserve's units and meanings."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.importers.document import Document
from analysis.importers.labels import Labels
from orchestrator.record import RunRecord, Verdict
from strategies import Layout
from workloads.transcript import RequestRow

Number = float | int | None
STATISTICS = ("mean", "median", "std", "p90", "p95", "p99")
# A tool that counts one gap a chunk agrees with gaps a token only when chunks are tokens.
SAME_WITHIN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one run of another tool measured."""

    source: Document
    tool: str
    model: str
    backend: str = ""
    layout: Layout | None = None
    gpu_type: str = ""
    started_at: str = ""
    input_len: int | None
    output_len: int | None
    num_prompts: int
    max_concurrency: int | None
    request_rate: float | None = None
    burstiness: float | None = None
    replicate: int = 0
    complete: bool = True
    """False when the tool says that it was stopped."""
    summary: Mapping[str, Number]
    """Run-table columns."""
    extra: Mapping[str, float | int | str | None] = field(default_factory=dict)
    rows: Sequence[RequestRow] = ()


def record_of(result: Result, labels: Labels) -> RunRecord:
    """Fill a row of the run table; ids follow from the content, so importing twice is harmless."""
    layout = labels.layout or result.layout
    per_gpu = result.summary.get("output_throughput")
    summary = dict(result.summary)
    if layout and per_gpu is not None:
        summary["output_throughput_per_gpu"] = per_gpu / layout.num_gpus
    verdict, reasons = _verdict(result)
    lengths = f"{result.input_len or 0}:{result.output_len or 0}:{result.num_prompts}"
    return RunRecord(
        run_id=f"import-{_digest(result.source.data)}",
        cell_id="",
        replicate=result.replicate,
        attempt=1,
        block=result.replicate,
        started_at=result.started_at,
        verdict=verdict,
        verdict_reasons=reasons,
        engine=result.backend,
        provenance="imported",
        model=labels.model or result.model,
        strategy=layout.name if layout else "",
        tp=layout.tp if layout else None,
        dp=layout.dp if layout else None,
        pp=layout.pp if layout else None,
        ep=layout.ep if layout else None,
        num_gpus=layout.num_gpus if layout else None,
        gpu_type=labels.gpu_type or result.gpu_type,
        technique="",
        workload=labels.workload or lengths,
        input_len=result.input_len or 0,
        output_len=result.output_len or 0,
        num_prompts=result.num_prompts,
        max_concurrency=result.max_concurrency,
        request_rate=result.request_rate,
        burstiness=result.burstiness,
        extra={"tool": result.tool, "source": result.source.path.name, **result.extra},
        **summary,  # type: ignore[arg-type]
    )


def _verdict(result: Result) -> tuple[Verdict, str]:
    """Judge what a summary shows: stopped early, failed requests, no tokens."""
    summary = result.summary
    reasons = []
    if summary.get("failed"):
        reasons.append("ERRORS")
    if summary.get("total_output_tokens") == 0 or summary.get("output_throughput") == 0:
        reasons.append("ZERO_TOKENS")
    if not result.complete:
        return "interrupted", ";".join(["INCOMPLETE", *reasons])
    return ("invalid" if reasons else "valid"), ";".join(reasons)


def _digest(data: object) -> str:
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def distribution(
    source: Document, path: str, names: Mapping[str, str], metric: str, *, times: float = 1.0
) -> dict[str, Number]:
    """Statistics as `mean_ttft_ms` and so on; `times` is 1e3 for a tool that counts seconds."""
    return {
        f"{statistic}_{metric}_ms": source.number(f"{path}.{key}", times=times)
        for statistic, key in names.items()
    }


def mean_length(total: Number, requests: Number) -> int | None:
    """Tokens a request, when both counts are known."""
    return round(total / requests) if total is not None and requests else None


def without_chunk_gaps(summary: dict[str, Number]) -> tuple[dict[str, Number], dict[str, Number]]:
    """Drop inter-token latencies that are gaps of chunks of several tokens; return them apart."""
    itl, tpot = summary.get("mean_itl_ms"), summary.get("mean_tpot_ms")
    if itl is None or tpot is None or abs(itl - tpot) <= SAME_WITHIN * tpot:
        return summary, {}
    gaps = [name for name in summary if name.endswith("_itl_ms")]
    kept = {name: value for name, value in summary.items() if name not in gaps}
    return kept, {name.replace("_itl_", "_chunk_gap_"): summary[name] for name in gaps}
