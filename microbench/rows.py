"""What was measured, one row for each backend and point."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from catalog.units import GB, MS_PER_S
from microbench.bound import Ceilings, expected, reached
from microbench.messages import PointTimings, SweepJob
from microbench.point import Point
from microbench.rotation import stays_cached
from microbench.routing import route, touched
from microbench.session import Gathered
from microbench.timing_summary import TimingSummary, summarise
from perfmodel.phases import PhaseCost


class PointRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the result; times are empty where a backend failed or disagreed.

    `roofline_ms` is perfmodel's time of the step with the measured ceilings as the hardware.
    Bandwidth counts weights only, each touched expert once.
    """

    backend: str
    kernel: str
    device: str
    dtype: str
    batch: int
    hidden: int
    intermediate: int
    experts: int
    active_experts: int
    top_k: int
    touched_experts: int
    mean_ms: float | None = None
    median_ms: float | None = None
    median_low_ms: float | None = None
    median_high_ms: float | None = None
    p99_ms: float | None = None
    std_ms: float | None = None
    process_spread: float | None = None
    tokens_per_s: float | None = None
    weight_bytes: int
    flops: int
    achieved_gb_per_s: float | None = None
    achieved_gflop_per_s: float | None = None
    ceiling_gb_per_s: float
    ceiling_gflop_per_s: float
    bandwidth_share: float | None = None
    compute_share: float | None = None
    roofline_ms: float
    roofline_bound: str
    cached: bool = False
    """The weights stay in a cache from step to step: the time says nothing of the memory."""
    bound: str | None = None
    disagreement: float | None = None
    samples: int = 0
    interrupted_samples: int = 0
    processes: int
    threads: int
    routing: str
    verdict: str
    why: str = ""
    provenance: str = "measured"


@dataclass(frozen=True, slots=True)
class PointContext:
    """What a point's rows share."""

    point: Point
    touched: int
    job: SweepJob


def rows(job: SweepJob, gathered: Gathered) -> list[PointRow]:
    return list(_rows(job, gathered))


def _rows(job: SweepJob, gathered: Gathered) -> Iterator[PointRow]:
    for number, point in enumerate(job.points):
        shape = PointContext(point, touched(route(point, job.routing)), job)
        for name in job.backends:
            if found := gathered.measured.get((number, name)):
                yield _row(shape, found, gathered.best(point.dtype))


def _row(shape: PointContext, found: Sequence[PointTimings], best: Ceilings) -> PointRow:
    point, job = shape.point, shape.job
    cached = stays_cached(point, shape.touched, job.device.cache_bytes)
    beside = beside_samples(best, found)
    cost = beside.roofline(point.weight_bytes(shape.touched), point.flops)
    failed = next((each for each in found if each.failure), None)
    apart = [each.disagreement for each in found if each.disagreement is not None]
    row = PointRow(
        backend=found[0].backend,
        kernel=found[0].kernel,
        device=job.device.device,
        **msgspec.structs.asdict(point),
        touched_experts=shape.touched,
        weight_bytes=point.weight_bytes(shape.touched),
        flops=point.flops,
        ceiling_gb_per_s=beside.bytes_per_s / GB,
        ceiling_gflop_per_s=beside.flops_per_s / GB,
        roofline_ms=float(cost.seconds) * MS_PER_S,
        roofline_bound=expected(cost),
        cached=cached,
        disagreement=max(apart, default=None),
        interrupted_samples=sum(each.interrupted for each in found),
        processes=len(found),
        threads=job.device.threads,
        routing=routing_name(job),
        verdict="ok" if failed is None else "failed",
        why=failed.failure if failed else "",
    )
    if failed is not None:
        return row
    summary = summarise([each.seconds for each in found])
    timed = msgspec.structs.replace(row, **_times(point, summary, cost))
    return _without_memory(timed) if cached else timed


def _without_memory(row: PointRow) -> PointRow:
    """Leave out what a row says of the memory that its weights did not come from."""
    bound = row.bound if row.bound == "compute" else "cache"
    return msgspec.structs.replace(row, bandwidth_share=None, bound=bound)


def beside_samples(best: Ceilings, found: Sequence[PointTimings]) -> Ceilings:
    """Take the memory's pace from the probes beside the samples.

    On a shared machine it changes from second to second by more than the margins of interest.
    """
    probes = [pace for each in found for pace in each.bytes_per_s]
    if not probes:
        return best
    # Where copying is the faster pattern, the probes are scaled by how much it is.
    factor = best.bytes_per_s / best.read_bytes_per_s
    pace = statistics.median(probes) * factor
    return replace(best, copy_bytes_per_s=pace, read_bytes_per_s=pace)


def _times(point: Point, summary: TimingSummary, cost: PhaseCost) -> Mapping[str, object]:
    median_s = summary.median_s
    spans = {
        "mean_ms": summary.mean_s,
        "median_ms": median_s,
        "median_low_ms": summary.median_low_s,
        "median_high_ms": summary.median_high_s,
        "p99_ms": summary.p99_s,
        "std_ms": summary.std_s,
    }
    return {
        **{name: None if s is None else s * MS_PER_S for name, s in spans.items()},
        "process_spread": summary.process_spread,
        "tokens_per_s": point.batch / median_s,
        "achieved_gb_per_s": float(cost.moved_bytes) / median_s / GB,
        "achieved_gflop_per_s": float(cost.flops) / median_s / GB,
        "bandwidth_share": float(cost.memory_s) / median_s,
        "compute_share": float(cost.compute_s) / median_s,
        "bound": reached(cost, median_s),
        "samples": summary.samples,
    }


def routing_name(job: SweepJob) -> str:
    routing = job.routing
    return f"zipf {routing.zipf:g}" if routing.kind == "zipf" else routing.kind
