"""Is a run worth a claim? Reasons against it, each a code with its numbers and the way out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from catalog.hardware_table import GPUS
from catalog.models import Model
from catalog.units import MS_PER_S
from orchestrator.cells import Cell
from perfmodel.floor import Claim, impossible
from strategies.technique import parse_technique
from workloads.drift import latency_trend, queue_trends
from workloads.server_metrics import disagreements
from workloads.transcript import RequestRow, Transcript

MOST_FAILED = 0.001
MOST_CACHED = 0.01
TIME_SLACK_S = 1e-6
MOST_DRIFT = 0.10
MOST_GROWTH = 0.40
"""Of queue and TTFT both, to be called growing: stationary queues near capacity wander too."""
SLOWEST_SENDS = 1.05
LITTLE_SHARE, LITTLE_REQUESTS = 0.10, 1.0
NOTES = frozenset(
    {
        "SERVER_DISAGREES",
        "CONCURRENCY_NOT_REACHED",
        "RATE_NOT_REACHED",
        "LITTLE",
        "EXPERTS_UNKNOWN",
        "PREEMPTED",
        "POWER_CAPPED",
    }
)
"""Codes that tell a reader something without making the run invalid."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a run is judged by."""

    cell: Cell
    model: Model
    rows: Sequence[RequestRow]
    figures: Mapping[str, Any]
    """The run's summary, and what the engine, the server and the client told of themselves."""
    measured: bool
    probing: bool = False
    """A search for capacity overloads on purpose."""


def reasons_against(evidence: Evidence) -> tuple[str, ...]:
    """Return what speaks against a run, and what a reader should know; empty when nothing does."""
    return tuple(reason for check in CHECKS for reason in check(evidence))


def _conservation(seen: Evidence) -> Iterator[str]:
    asked, rows = seen.cell.num_prompts, seen.rows
    if len(rows) != asked or len({row.request for row in rows}) != len(rows):
        yield f"INCOMPLETE: {len(rows)} of {asked} requests are accounted for"


def _errors(seen: Evidence) -> Iterator[str]:
    failed = [row for row in seen.rows if row.status == "failed"]
    if len(failed) > MOST_FAILED * len(seen.rows):
        classes = ", ".join(sorted({row.error_class for row in failed}))
        yield f"ERRORS: {len(failed)} of {len(seen.rows)} requests failed ({classes})"


def _lengths(seen: Evidence) -> Iterator[str]:
    asked = seen.cell.workload.output_len
    done = [row.output_tokens for row in seen.rows if row.status == "ok"]
    wrong = sum(tokens != asked for tokens in done)
    if not done:
        yield "ZERO_TOKENS: no request completed"
    elif wrong:
        yield (
            f"LENGTH_MISMATCH: {wrong} of {len(done)} answers do not have the {asked} tokens asked "
            "for; the server must honour ignore_eos and max_tokens"
        )


def _order(seen: Evidence) -> Iterator[str]:
    """Due, sent, first token, done: in this order, on one clock."""
    for row in seen.rows:
        times = [row.due_s, row.sent_s, row.first_token_s, row.done_s]
        known = [time for time in times if time is not None]
        if any(b < a - TIME_SLACK_S for a, b in pairwise(known)):
            yield f"CLOCK: the times of request {row.request} are out of order: {known}"
            return


def _server_tokens(seen: Evidence) -> Iterator[str]:
    """When all requests ended well, the server counted in the window what the client got."""
    counted = seen.figures.get("server_generation_tokens")
    ours = seen.figures.get("total_output_tokens")
    if counted is None or ours is None or any(row.status != "ok" for row in seen.rows):
        return
    if counted > ours:
        yield (
            f"FOREIGN_TRAFFIC: the server made {counted:.0f} tokens, {counted - ours:.0f} of them "
            "not for this run; measure a server that nobody else uses"
        )
    elif counted < ours:
        yield f"TOKEN_COUNT_MISMATCH: {ours} tokens to the client, {counted:.0f} to the server"


def _server_requests(seen: Evidence) -> Iterator[str]:
    """Conservation across the wire: what ended well here ended well there, and no more."""
    counted = seen.figures.get("server_requests")
    if counted is None or any(row.status != "ok" for row in seen.rows):
        return
    if counted > len(seen.rows):
        yield (
            f"FOREIGN_TRAFFIC: the server answered {counted:.0f} requests, "
            f"{counted - len(seen.rows):.0f} of them not ours; measure a server nobody else uses"
        )


def _little(seen: Evidence) -> Iterator[str]:
    """Little's law: requests seen inside the server are those that ours spend in it."""
    names = ("server_in_flight", "effective_concurrency")
    inside, ours = (seen.figures.get(name) for name in names)
    if inside is None or ours is None:
        return
    if abs(inside - ours) > LITTLE_SHARE * ours + LITTLE_REQUESTS:
        yield (
            f"LITTLE: {ours:.1f} requests were in flight to the client and {inside:.1f} in the "
            "server; something between them holds requests, or somebody else sends some"
        )


def _steady(seen: Evidence) -> Iterator[str]:
    """A closed loop whose latency drifts has no one number; an open loop whose queue grows."""
    load, run = seen.cell.load, Transcript(seen.rows)
    if load.request_rate is None:
        drift = latency_trend(run, load.max_concurrency)
        if drift is not None and drift.beyond(MOST_DRIFT):
            yield (
                f"NOT_STEADY: latency changed by {drift.change:+.0%} over the run (99 % interval "
                f"{drift.low:+.0%} to {drift.high:+.0%}); warm up more (--num-warmups), "
                "measure longer (--num-prompts), and see gpu.parquet for clocks"
            )
    elif not seen.probing:
        queue, ttft = queue_trends(run)
        if queue and ttft and min(queue.low, ttft.low) > MOST_GROWTH:
            yield (
                f"SATURATED: queue and TTFT grew by {queue.change:.0%} and {ttft.change:.0%} over "
                "the run: it is beyond capacity, and its latencies are those of its length; "
                "ask for a lower --request-rate, or --find-max for the highest that holds"
            )


def _rate(seen: Evidence) -> Iterator[str]:
    """A cap on concurrency holds back sends that were due."""
    if seen.cell.load.request_rate is None:
        return
    due = [row.due_s for row in seen.rows]
    sent = [row.sent_s for row in seen.rows if row.sent_s is not None]
    if len(sent) < 2 or (span_s := max(due) - min(due)) <= 0:
        return
    slower = (max(sent) - min(sent)) / span_s
    if slower > SLOWEST_SENDS:
        yield (
            f"RATE_NOT_REACHED: the sends took {slower:.2f} times as long as they were due in; "
            "the cap on concurrency held them back"
        )


def _warm_cache(seen: Evidence) -> Iterator[str]:
    queries, hits = (seen.figures.get(f"server_prefix_cache_{n}") for n in ("queries", "hits"))
    if queries and hits and hits / queries > MOST_CACHED:
        yield (
            f"CACHE_WARM: {hits / queries:.0%} of the prompt tokens came from the prefix cache; "
            "start the server with --no-enable-prefix-caching"
        )


def _unreached(seen: Evidence) -> Iterator[str]:
    asked, count = seen.cell.load.max_concurrency, seen.cell.num_prompts
    if asked is not None and count < asked:
        yield (
            f"CONCURRENCY_NOT_REACHED: {count} prompts never are {asked} in flight; "
            "--num-prompts auto holds the concurrency"
        )


def _preempted(seen: Evidence) -> Iterator[str]:
    count = seen.figures.get("preemptions") or seen.figures.get("server_preemptions")
    if count:
        yield f"PREEMPTED: {count:.0f} times for want of KV cache"


def _impossible(seen: Evidence) -> Iterator[str]:
    """A result that no such hardware can give did not do the work that was asked for."""
    layout, gpu = seen.cell.setup.layout, GPUS.get(seen.cell.setup.hardware)
    if not seen.measured or layout is None or gpu is None or gpu.name == "CPU":
        return
    if not parse_technique(seen.cell.setup.technique).weights_known:
        return
    ttft_ms, itl_ms = (seen.figures.get(f"mean_{name}_ms") for name in ("ttft", "itl"))
    claim = Claim(
        input_len=seen.cell.workload.input_len,
        output_len=seen.cell.workload.output_len,
        num_prompts=seen.cell.num_prompts,
        max_concurrency=seen.cell.load.max_concurrency,
        mean_ttft_s=None if ttft_ms is None else ttft_ms / MS_PER_S,
        mean_itl_s=None if itl_ms is None else itl_ms / MS_PER_S,
        output_throughput=seen.figures.get("output_throughput"),
    )
    for found in impossible(seen.model, gpu, layout.num_gpus, claim):
        yield f"IMPOSSIBLE: {str(found).removeprefix('IMPOSSIBLE ')}"


def _gpus(seen: Evidence) -> Iterator[str]:
    foreign = seen.figures.get("gpu_foreign_processes")
    if foreign:
        yield f"CO_TENANT: {foreign:.0f} processes of somebody else computed on the GPUs"
    if seen.figures.get("gpu_xid") is not None:
        yield f"GPU_FAULT: the driver reported XID {seen.figures['gpu_xid']:.0f} during the run"
    if seen.figures.get("gpu_ecc_errors"):
        yield f"GPU_FAULT: {seen.figures['gpu_ecc_errors']:.0f} uncorrectable memory errors"
    if seen.figures.get("gpu_throttled_samples"):
        share = seen.figures["gpu_throttled_samples"] / seen.figures["gpu_samples"]
        yield f"THROTTLED: the GPUs slowed down for heat or power supply in {share:.0%} of samples"
    if seen.figures.get("gpu_power_capped_samples"):
        share = seen.figures["gpu_power_capped_samples"] / seen.figures["gpu_samples"]
        yield f"POWER_CAPPED: at the power limit in {share:.0%} of samples"


def _server_latencies(seen: Evidence) -> Iterator[str]:
    yield from disagreements(seen.figures, seen.figures)


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    _conservation,
    _errors,
    _lengths,
    _order,
    _server_tokens,
    _server_requests,
    _little,
    _steady,
    _rate,
    _warm_cache,
    _impossible,
    _gpus,
    _unreached,
    _preempted,
    _server_latencies,
)
