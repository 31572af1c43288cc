"""One imported result before it becomes a record: the numbers in moeserve's units and meanings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.importers.document import Document
from analysis.importers.leftovers import Scalar
from strategies import Layout
from workloads.transcript import RequestRow

Number = float | int | None
COUNTED: dict[str, Scalar] = {"num_prompts_source": "counted, not asked"}
"""Label of a run that was ended by time: how many prompts it sent is found, not set."""
STATISTICS = ("mean", "median", "std", "p90", "p95", "p99")
LATENCIES = ("ttft", "tpot", "itl", "e2el")
# A tool that counts one gap a chunk agrees with gaps a token only when chunks are tokens.
SAME_WITHIN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRun:
    """What one run of another tool measured."""

    source: Document
    tool: str
    model: str = ""
    engine: str = ""
    """Only where the file says what served; the client's own backend is a label."""
    layout: Layout | None = None
    num_gpus: int | None = None
    gpu_type: str = ""
    started_at: str = ""
    input_len: float | None = None
    """Mean tokens of a prompt, as measured."""
    output_len: float | None = None
    asked: tuple[int | None, int | None] = (None, None)
    """Lengths that were asked for, where the file says them."""
    num_prompts: int | None = None
    max_concurrency: int | None = None
    request_rate: float | None = None
    burstiness: float | None = None
    replicate: int = 0
    complete: bool = True
    """False when the tool says that it was stopped."""
    rounded: bool = False
    """True for printed summaries and exports with two decimals."""
    summary: Mapping[str, Number]
    """Run-table columns."""
    measured: Mapping[str, Scalar | None] = field(default_factory=dict)
    """Further measurements: `tool_…` and gaps of chunks."""
    labels: Mapping[str, Scalar] = field(default_factory=dict)
    """What else the file says of the system under test."""
    rows: Sequence[RequestRow] = ()


def distribution(
    source: Document, path: str, names: Mapping[str, str], metric: str, *, times: float = 1.0
) -> dict[str, Number]:
    """Statistics as `mean_ttft_ms` and so on; `times` is 1e3 for a tool that counts seconds."""
    return {
        f"{statistic}_{metric}_ms": source.number(f"{path}.{key}", times=times)
        for statistic, key in names.items()
    }


def mean_of(total: Number, requests: Number) -> float | None:
    """Tokens a request, when both counts are known."""
    return total / requests if total is not None and requests else None


def failed_of(failed: Number, completed: Number, prompts: Number) -> int | None:
    """Requests that were sent and did not complete, by whichever count says more of them."""
    counts = [round(failed)] if failed is not None else []
    if completed is not None and prompts and prompts >= completed:
        counts.append(round(prompts - completed))
    return max(counts, default=None)


def total_rate(total: Number, into: Number, out: Number) -> Number:
    """Tokens a second both ways; older files have only the two apart."""
    return into + out if total is None and into is not None and out is not None else total


def token_gap_ms(summary: Mapping[str, Number]) -> float | None:
    """Mean gap between tokens by the run's own totals, (E2E − TTFT) · requests / further tokens."""
    e2el, ttft = summary.get("mean_e2el_ms"), summary.get("mean_ttft_ms")
    done, tokens = summary.get("completed"), summary.get("total_output_tokens")
    if e2el is None or ttft is None or not done or tokens is None or tokens <= done:
        return None
    return (e2el - ttft) * done / (tokens - done)


def without_chunk_gaps(summary: dict[str, Number]) -> tuple[dict[str, Number], dict[str, Number]]:
    """Drop inter-token latencies that are gaps of chunks of several tokens; return them apart.

    Gaps between tokens have the mean that the totals give. Without totals they agree with TPOT,
    which weighs requests and not tokens: only where all outputs have one length. Nothing shows
    percentiles without a mean to be those of tokens.
    """
    itl = summary.get("mean_itl_ms")
    right = token_gap_ms(summary) or summary.get("mean_tpot_ms")
    gaps = [name for name in summary if name.endswith("_itl_ms") and summary[name] is not None]
    if not gaps or (itl and right and abs(itl - right) <= SAME_WITHIN * right):
        return summary, {}
    kept = {name: value for name, value in summary.items() if name not in gaps}
    return kept, {name.replace("_itl_", "_chunk_gap_"): summary[name] for name in gaps}


def measured_only(summary: Mapping[str, Number]) -> dict[str, Number]:
    """Empty what was not measured: a latency whose mean is 0, or all where nothing completed."""
    kept = dict(summary)
    for metric in LATENCIES:
        mean = kept.get(f"mean_{metric}_ms")
        if kept.get("completed") == 0 or mean == 0:
            kept |= {name: None for name in kept if name.endswith(f"_{metric}_ms")}
    return kept
