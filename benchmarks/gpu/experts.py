"""The expert microbenchmark at the study's sizes: its ends first, then all between them."""

from collections.abc import Iterator
from dataclasses import replace

import msgspec
from clock import Setting
from table import Table

from catalog.errors import Infeasible
from catalog.units import MIB
from microbench.grid import ON_A_GPU, SweepGrid
from microbench.study import SweepOptions, SweepPlan, SweepResult, plan, run

ENDS = SweepGrid(batch=(8, 128), intermediate=(512, 6144))
FITTING = SweepGrid(batch=(8, 128), intermediate=(512, 1024))
TRIED = SweepGrid(
    batch=(8, 64), hidden=(128,), intermediate=(32, 64), experts=(8,), active_experts=(2, 8),
    top_k=(2,), dtype=("float32",),
)  # fmt: skip
SMALL_CACHE_BYTES = 4 * MIB
PUBLISHED = {(128, 512): 0.77, (128, 6144): 6.35}
"""Latencies that the study prints for an A100, in ms, by batch and width."""
COLUMNS = (
    "backend", "batch", "width", "active", "median ms", "p99 ms", "GB/s", "of read ceiling",
    "GFLOP/s", "bound", "failed because",
)  # fmt: skip


def measure(setting: Setting) -> Iterator[Table]:
    """Yield the sweep of the ends, and then the whole one, which may not end in time."""
    if setting.small:
        yield from _swept("a small sweep", TRIED, setting)
        return
    try:
        yield from _swept("the ends of the study's sweep", ENDS, setting)
    except Infeasible as error:  # a GPU that is smaller than the study's
        yield Table("Expert MLP, the ends of the study's sweep", (), notes=(str(error),))
        yield from _swept("what fits here", FITTING, setting)
        return
    yield from _swept("the whole sweep", ON_A_GPU, setting)


def _swept(name: str, grid: SweepGrid, setting: Setting) -> Iterator[Table]:
    samples = 10 if setting.small else 50
    threads = 1 if setting.device == "cpu" else None
    planned = plan(
        SweepOptions(
            device=setting.device,
            backends=("loop", "grouped") if setting.small else None,
            grid=grid,
            samples=samples,
            processes=1,
            threads=threads,
        )
    )
    if setting.small:
        planned = _tried(planned)
    result = run(planned, lambda *_: None)
    notes = [*planned.notes, f"{len(result.rows)} rows in {result.duration_s:.0f} s"]
    notes += [
        f"{fit.backend}, {fit.dtype}: t = {fit.t0_ms:.3g} ms + bytes / {fit.gb_per_s:.0f} GB/s "
        f"({fit.share_of_ceiling:.0%} of the read ceiling; rms residual {fit.rms_residual:.0%})"
        for fit in result.fits
    ]
    rows = tuple(
        (
            row.backend, row.batch, row.intermediate, row.active_experts, row.median_ms,
            row.p99_ms, row.achieved_gb_per_s, row.bandwidth_share, row.achieved_gflop_per_s,
            row.bound, row.why,
        )
        for row in result.rows
    )  # fmt: skip
    yield Table(f"Expert MLP, {name}", COLUMNS, rows, tuple(notes))
    yield _findings(name, result)


def _tried(planned: SweepPlan) -> SweepPlan:
    """Walk over little memory: a try says nothing of the device, and must end soon anywhere."""
    device = msgspec.structs.replace(planned.job.device, cache_bytes=SMALL_CACHE_BYTES)
    job = msgspec.structs.replace(planned.job, device=device)
    return replace(planned, job=job, notes=(*planned.notes, "weights stay in caches: a try"))


def _findings(name: str, result: SweepResult) -> Table:
    """The study's three findings, and its two printed latencies beside those of this device."""
    rows = tuple(
        (each.finding, each.backend, each.verdict, f"{each.holds} of {each.slices}", each.numbers)
        for each in result.findings
    )
    columns = ("finding", "backend", "verdict", "slices", "numbers")
    most = {(row.backend, row.batch, row.intermediate): row for row in result.rows}
    notes = tuple(
        f"batch {batch}, width {width}: {row.median_ms:.3g} ms in {backend}; the study prints "
        f"{PUBLISHED[batch, width]} ms of an A100"
        for (backend, batch, width), row in most.items()
        if (batch, width) in PUBLISHED and row.median_ms is not None
    )
    return Table(f"The study's findings, {name}", columns, rows, notes)
