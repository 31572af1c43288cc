"""What is said beside the rows of a microbenchmark: progress, and what the rows mean."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from catalog.units import GB, GIB, MIB
from microbench.fits import FitRow
from microbench.messages import Round, SweepMessage
from microbench.rows import PointRow
from microbench.session import MessageListener
from microbench.study import SweepPlan, SweepResult
from moeserve.cli.show import note
from orchestrator.results.record import Row

REPEATABLE = 0.10
ROUNDS_A_LINE = 5


def announce(planned: SweepPlan) -> None:
    """Say what is about to be measured, on what."""
    job = planned.job
    device = job.device
    sizes = f"{len(job.points)} points × {', '.join(job.backends)}"
    note(
        f"{sizes}; {planned.processes} processes × {job.rounds} rounds × {job.samples} samples; "
        f"{device.device} ({device.name}, {device.threads} threads, last-level cache "
        f"{device.cache_bytes / MIB:.0f} MiB, {device.free_bytes / GIB:.1f} GiB free)"
    )
    for text in planned.notes:
        note(text)


@contextmanager
def progress(planned: SweepPlan) -> Iterator[MessageListener]:
    """Give a listener: a bar on a terminal, a line for each set of weights in a pipe."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            total = planned.processes * len(planned.job.together) * planned.job.rounds
            shown = bar.add_task("starting", total=total)

            def advance(process: int, message: SweepMessage) -> None:
                if isinstance(message, Round):
                    bar.update(shown, advance=1, description=_where(planned, process, message))

            yield advance
    else:
        yield lambda process, message: _say(planned, process, message)


def _say(planned: SweepPlan, process: int, message: SweepMessage) -> None:
    if isinstance(message, Round) and message.number % ROUNDS_A_LINE == 0:
        note(_where(planned, process, message))


def _where(planned: SweepPlan, process: int, message: Round) -> str:
    job = planned.job
    share = f", weights {message.share + 1} of {len(job.together)}" if job.together[1:] else ""
    return (
        f"process {process + 1} of {planned.processes}{share}, round {message.number + 1} of "
        f"{job.rounds}"
    )


def row_of(row: PointRow) -> Row:
    return msgspec.structs.asdict(row)


def tell(result: SweepResult) -> None:
    """Say what the rows mean, and how far they can be trusted."""
    for text in _meaning(result):
        note(text)


def _meaning(result: SweepResult) -> Iterator[str]:
    yield from _ceilings(result)
    yield from (_fit(each) for each in result.fits)
    for name in dict.fromkeys(row.backend for row in result.rows):
        yield _bounds(name, [row for row in result.rows if row.backend == name])
    for found in result.findings:
        shown = f": {found.holds} of {found.slices} comparisons show it" if found.slices else ""
        yield (
            f"finding {found.finding} [{found.backend}]: {found.verdict}{shown}; {found.numbers}"
        )
    yield from _doubts(result)


def _ceilings(result: SweepResult) -> Iterator[str]:
    for dtype, found in result.ceilings.items():
        reads = [each.read_bytes_per_s / GB for each in found]
        copies = [each.copy_bytes_per_s / GB for each in found]
        products = [each.flops_per_s / GB for each in found]
        yield (
            f"ceilings, {dtype}: read {_span(reads)} GB/s, copy {_span(copies)} GB/s, matrix "
            f"product {_span(products)} GFLOP/s; each row stands beside the memory's pace probed "
            "next to its samples"
        )


def _span(values: list[float]) -> str:
    return f"{min(values):.4g}–{max(values):.4g}"


def _fit(fit: FitRow) -> str:
    return (
        f"fit [{fit.backend}, {fit.dtype}]: t = {fit.t0_ms:.3f} ms "
        f"({fit.t0_low_ms:.3f} to {fit.t0_high_ms:.3f}) + bytes / {fit.gb_per_s:.1f} GB/s "
        f"({fit.gb_per_s_low:.1f} to {fit.gb_per_s_high:.1f}), {fit.share_of_ceiling:.0%} of the "
        f"ceiling; residual {fit.rms_residual:.1%} rms, {fit.worst_residual:.1%} at worst, over "
        f"{fit.points} points whose roofline is memory's"
    )


def _bounds(backend: str, rows: list[PointRow]) -> str:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.bound or "failed"] = counts.get(row.bound or "failed", 0) + 1
    listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"bound [{backend}]: {listed} of {len(rows)} points"


def _doubts(result: SweepResult) -> Iterator[str]:
    """What a reader should know before believing the rows."""
    spreads = [row.process_spread for row in result.rows if row.process_spread is not None]
    apart = sum(spread > REPEATABLE for spread in spreads)
    if apart:
        yield (
            f"{apart} of {len(spreads)} medians differ by more than {REPEATABLE:.0%} between "
            "processes: something else used the machine; take more --samples or a quieter one"
        )
    interrupted = sum(row.interrupted_samples for row in result.rows)
    if interrupted:
        total = sum(row.samples for row in result.rows)
        yield f"{interrupted} of {total} samples are in although other programs took a core"
    above = sum(row.bound == "above ceiling" for row in result.rows)
    if above:
        yield f"{above} rows are faster than the ceiling: their weights cannot all be from memory"
    failed = [row for row in result.rows if row.verdict != "ok"]
    if failed:
        yield f"{len(failed)} rows have no times: {failed[0].backend}: {failed[0].why}"
    if not result.job.device.on_gpu:
        yield "measured on a CPU: says nothing about a GPU's ratios; no constants for `estimate`"
    elif not result.fits:
        yield "no constants for `estimate`: too few points read their weights from memory for a fit"
    elif result.constants is None:
        yield "no constants for `estimate`: no row describes this GPU, see moeserve hardware --help"
