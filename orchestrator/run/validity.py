"""Is a run worth a claim? Reasons against it, each a code with its numbers and the way out."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from catalog.units import MS_PER_S
from orchestrator.run import stream_checks
from orchestrator.run.evidence import Evidence
from perfmodel.floor import Claim, impossible
from workloads.figures.drift import latency_trend, queue_trends
from workloads.figures.server_metrics import disagreements
from workloads.transcript import Transcript

MOST_FAILED = 0.001
MOST_CACHED = 0.01
TIME_SLACK_S = 1e-6
MOST_DRIFT = 0.10
MOST_GROWTH = 0.40
"""Of queue and TTFT both, to be called growing: stationary queues near capacity wander too."""
SLOWEST_SENDS = 1.05
LITTLE_SHARE, LITTLE_REQUESTS = 0.10, 1.0
LIMITED = re.compile(r'\A(?:429|529)\b|"code":"?(?:429|529)\b')
TOO_MUCH = "; the server limits how much it is asked: lower the load, or lift the limit"
NOTES = frozenset(
    {
        "SERVER_DISAGREES",
        "CONCURRENCY_NOT_REACHED",
        "RATE_NOT_REACHED",
        "LITTLE",
        "EXPERTS_UNKNOWN",
        "PREEMPTED",
        "POWER_CAPPED",
        "CORES_TAKEN",
        # Of a server that already runs, and of what its answers prove.
        "ANOTHER_NAME",
        "ANSWERED_AS",
        "FIRST_TOKEN_UNCERTAIN",
        "LEFT_OPEN",
        "LENGTHS_OWN",
        "METRICS_SHARED",
        "NO_DONE",
        "NO_FINISH_REASON",
        "PROMPT_LONGER",
        "PROMPT_SHORTER",
        "PROMPT_UNKNOWN",
        "SERVER_UNSEEN",
        "SEVERAL_ADDRESSES",
        "SOME_CLUMPED",
        "UNLISTED",
        "USAGE_MISSING",
    }
)
"""Codes that tell a reader something without making the run invalid."""


def reasons_against(evidence: Evidence) -> tuple[str, ...]:
    """Return what speaks against a run, and what a reader should know; empty when nothing does."""
    return tuple(reason for check in CHECKS for reason in check(evidence))


def _conservation(evidence: Evidence) -> Iterator[str]:
    requested, rows = evidence.cell.num_prompts, evidence.rows
    if len(rows) != requested or len({row.request for row in rows}) != len(rows):
        yield f"INCOMPLETE: {len(rows)} of {requested} requests are accounted for"


def _errors(evidence: Evidence) -> Iterator[str]:
    failed = [row for row in evidence.rows if row.status == "failed"]
    if len(failed) > MOST_FAILED * len(evidence.rows):
        classes = ", ".join(sorted({row.error_class for row in failed}))
        words = Counter(row.error for row in failed).most_common(1)[0][0]
        said = f": {words}" if words else ""
        said += TOO_MUCH if LIMITED.search(words) else ""
        yield f"ERRORS: {len(failed)} of {len(evidence.rows)} requests failed ({classes}){said}"


def _order(evidence: Evidence) -> Iterator[str]:
    """Due, sent, first token, done: in this order, on one clock."""
    for row in evidence.rows:
        times = [row.due_s, row.sent_s, row.first_token_s, row.done_s]
        known = [time for time in times if time is not None]
        if any(b < a - TIME_SLACK_S for a, b in pairwise(known)):
            yield f"CLOCK: the times of request {row.request} are out of order: {known}"
            return


def _server_tokens(evidence: Evidence) -> Iterator[str]:
    """When all requests ended well, the server counted in the window what the client got."""
    counted = evidence.figures.get("server_generation_tokens")
    client = evidence.figures.get("total_output_tokens")
    if counted is None or client is None or any(row.status != "ok" for row in evidence.rows):
        return
    if counted > client:
        yield (
            f"FOREIGN_TRAFFIC: the server made {counted:.0f} tokens, {counted - client:.0f} of "
            "them not for this run; measure a server that nobody else uses"
        )
    elif counted < client:
        foreign = "served_model" in evidence.figures
        way_out = "; are these its counters, and in time? (--metrics-url)" if foreign else ""
        yield (
            f"TOKEN_COUNT_MISMATCH: {client} tokens to the client, {counted:.0f} to the server"
            f"{way_out}"
        )


def _server_requests(evidence: Evidence) -> Iterator[str]:
    """Conservation across the wire: what ended well here ended well there, and no more."""
    counted = evidence.figures.get("server_requests")
    if counted is None or any(row.status != "ok" for row in evidence.rows):
        return
    if counted > len(evidence.rows):
        foreign = counted - len(evidence.rows)
        yield (
            f"FOREIGN_TRAFFIC: the server answered {counted:.0f} requests, {foreign:.0f} of them "
            "not ours; measure a server nobody else uses"
        )


def _little(evidence: Evidence) -> Iterator[str]:
    """Little's law: requests in flight in the server are those that the client has in flight."""
    names = ("server_in_flight", "effective_concurrency")
    server, client = (evidence.figures.get(name) for name in names)
    if server is None or client is None:
        return
    if abs(server - client) > LITTLE_SHARE * client + LITTLE_REQUESTS:
        yield (
            f"LITTLE: {client:.1f} requests were in flight to the client and {server:.1f} in the "
            "server; something between them holds requests, or somebody else sends some"
        )


def _steady(evidence: Evidence) -> Iterator[str]:
    """A closed loop whose latency drifts has no one number; an open loop whose queue grows.

    Where the workload itself changes over the run, neither says anything of the server.
    """
    if not evidence.cell.workload.exchangeable or evidence.cell.load.rate_curve:
        return
    load, run = evidence.cell.load, Transcript.of(evidence.rows)
    if load.request_rate is None:
        drift = latency_trend(run, load.max_concurrency)
        if drift is not None and drift.beyond(MOST_DRIFT):
            yield (
                f"NOT_STEADY: latency changed by {drift.change:+.0%} over the run (99 % interval "
                f"{drift.low:+.0%} to {drift.high:+.0%}); warm up more (--num-warmups), "
                "measure longer (--num-prompts), and see gpu.parquet for clocks"
            )
    elif not evidence.probing:
        queue, ttft = queue_trends(run)
        if queue and ttft and min(queue.low, ttft.low) > MOST_GROWTH:
            yield (
                f"SATURATED: queue and TTFT grew by {queue.change:.0%} and {ttft.change:.0%} over "
                "the run: it is beyond capacity, and its latencies are those of its length; "
                "ask for a lower --request-rate, or --find-max for the highest that holds"
            )


def _rate(evidence: Evidence) -> Iterator[str]:
    """A cap on concurrency holds back sends that were due."""
    if evidence.cell.load.request_rate is None:
        return
    due = [row.due_s for row in evidence.rows]
    sent = [row.sent_s for row in evidence.rows if row.sent_s is not None]
    if len(sent) < 2 or (span_s := max(due) - min(due)) <= 0:
        return
    slower = (max(sent) - min(sent)) / span_s
    if slower > SLOWEST_SENDS:
        yield (
            f"RATE_NOT_REACHED: the sends took {slower:.2f} times as long as they were due in; "
            "the cap on concurrency held them back"
        )


def _warm_cache(evidence: Evidence) -> Iterator[str]:
    """No more comes from the prefix cache than the workload itself shares."""
    figures = evidence.figures
    stated = float(figures.get("prefix_shareable_share") or 0.0)
    if evidence.cell.workload.has_prompts and "prefix_shareable_share" not in figures:
        return  # a text that only the server has tokenised: what it shares is not known
    hits = figures.get("server_prefix_cache_hits") or 0.0
    # Not every server counts what it looked up; all that have such counters count prompts.
    queries = figures.get("server_prefix_cache_queries") or figures.get("server_prompt_tokens")
    # A chat template is the same before every prompt, and may well be kept.
    hits -= (figures.get("template_tokens") or 0.0) * len(evidence.rows)
    if queries and hits / queries > stated + MOST_CACHED:
        share = f"; the workload shares {stated:.0%}" if stated else ""
        yield (
            f"CACHE_WARM: {hits / queries:.0%} of the prompt tokens came from the prefix cache"
            f"{share}; start the server with --no-enable-prefix-caching"
        )


def _unreached(evidence: Evidence) -> Iterator[str]:
    requested, count = evidence.cell.load.max_concurrency, evidence.cell.num_prompts
    if requested is not None and count < requested:
        yield (
            f"CONCURRENCY_NOT_REACHED: {count} prompts never are {requested} in flight; "
            "--num-prompts auto holds the concurrency"
        )


def _preempted(evidence: Evidence) -> Iterator[str]:
    count = evidence.figures.get("preemptions") or evidence.figures.get("server_preemptions")
    if count:
        yield f"PREEMPTED: {count:.0f} times for lack of KV cache"


def _impossible(evidence: Evidence) -> Iterator[str]:
    """A result that no such hardware can give did not do the work that was asked for.

    The bound is of requests that are all alike: where they differ, batches fill as others end.
    """
    if evidence.cell.workload.parts:
        return
    layout, gpu = evidence.cell.setup.layout, evidence.cell.setup.gpu
    if not evidence.measured or layout is None or gpu is None or gpu.name == "CPU":
        return
    if not evidence.cell.setup.technique.weights_known or not evidence.model.sized:
        return
    ttft_ms, itl_ms = (evidence.figures.get(f"mean_{name}_ms") for name in ("ttft", "itl"))
    claim = Claim(
        input_len=evidence.cell.workload.input_len,
        output_len=evidence.cell.workload.output_len,
        num_prompts=evidence.cell.num_prompts,
        max_concurrency=evidence.cell.load.max_concurrency,
        mean_ttft_s=None if ttft_ms is None else ttft_ms / MS_PER_S,
        mean_itl_s=None if itl_ms is None else itl_ms / MS_PER_S,
        output_throughput=evidence.figures.get("output_throughput"),
    )
    for found in impossible(evidence.model, gpu, layout.num_gpus, claim):
        yield f"IMPOSSIBLE: {str(found).removeprefix('IMPOSSIBLE ')}"


def _gpus(evidence: Evidence) -> Iterator[str]:
    foreign = evidence.figures.get("gpu_foreign_processes")
    if foreign:
        yield f"CO_TENANT: {foreign:.0f} processes of somebody else computed on the GPUs"
    if evidence.figures.get("gpu_xid") is not None:
        yield f"GPU_FAULT: the driver reported XID {evidence.figures['gpu_xid']:.0f} during the run"
    if evidence.figures.get("gpu_ecc_errors"):
        yield f"GPU_FAULT: {evidence.figures['gpu_ecc_errors']:.0f} uncorrectable memory errors"
    if evidence.figures.get("gpu_throttled_samples"):
        share = evidence.figures["gpu_throttled_samples"] / evidence.figures["gpu_samples"]
        yield f"THROTTLED: the GPUs slowed down for heat or power supply in {share:.0%} of samples"
    if evidence.figures.get("gpu_power_capped_samples"):
        share = evidence.figures["gpu_power_capped_samples"] / evidence.figures["gpu_samples"]
        yield f"POWER_CAPPED: at the power limit in {share:.0%} of samples"


def _server_latencies(evidence: Evidence) -> Iterator[str]:
    yield from disagreements(evidence.figures, evidence.figures)


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    _conservation,
    _errors,
    stream_checks.lengths,
    stream_checks.prompts,
    stream_checks.clumped,
    stream_checks.names,
    stream_checks.oddities,
    _order,
    _server_tokens,
    _server_requests,
    _little,
    _steady,
    _rate,
    _warm_cache,
    stream_checks.cached,
    _impossible,
    _gpus,
    _unreached,
    _preempted,
    _server_latencies,
)
