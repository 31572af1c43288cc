"""One process's sweep: ceilings, then every point in every backend, then ceilings again."""

import math
from collections.abc import Callable, Iterator
from itertools import groupby

import torch

from catalog.errors import Infeasible
from catalog.units import GB
from microbench import backends, rotation
from microbench.agreement import agrees, disagreement
from microbench.backends.base import Backend, WeightPool
from microbench.backends.grouped import grouped
from microbench.backends.loop import loop
from microbench.backends.vllm import vllm
from microbench.ceilings import MemoryProbe, measure_ceilings
from microbench.device import host_memory
from microbench.messages import Ceiling, Round, SweepJob, SweepMessage, Turn
from microbench.series import BackendSeries, PointInput, case_of

SendMessage = Callable[[SweepMessage], None]

PROBES = 3
"""Readings of the memory's pace before each point of a round."""


def sweep(job: SweepJob, send: SendMessage) -> None:
    """Measure everything; results are told as they come."""
    torch.manual_seed(job.routing.seed)
    torch.set_num_threads(job.device.threads)
    if job.device.on_gpu:
        # Triton launches on the current device, whatever its arguments lie on.
        torch.cuda.set_device(job.device.device)
    with torch.inference_mode():
        memory = MemoryProbe(rotation.ceiling_bytes(job.device), job.device.device)
        _send_ceilings(job, memory, send)
        for share in range(len(job.together)):
            _measure_share(job, share, memory, send)
        _send_ceilings(job, memory, send)


def _send_ceilings(job: SweepJob, memory: MemoryProbe, send: SendMessage) -> None:
    for name in dict.fromkeys(point.dtype for point in job.points):
        measured = measure_ceilings(getattr(torch, name), memory, job.device.device)
        send(Ceiling(dtype=name, ceilings=measured))


def _measure_share(job: SweepJob, share: int, memory: MemoryProbe, send: SendMessage) -> None:
    series = [each for weights in job.together[share] for each in _prepared(job, weights)]
    for number in range(job.rounds):
        send(Turn())
        send(Round(share=share, number=number))
        memory.wake()
        for _, members in groupby(series, key=lambda each: each.case.number):
            paces = memory.read(PROBES)
            for each in members:
                each.paces += paces
                _sample(job, each)
    for each in series:
        send(each.timings())


def _prepared(job: SweepJob, weights: rotation.WeightSet) -> list[BackendSeries]:
    """Backends at the points of one pool, point by point."""
    cases = [case_of(job, number) for number in weights.points]
    experts = max(case.starts[-1] + case.experts for case in cases)
    pool = fill(experts, weights, job.device.device)
    return sorted(_checked(job, cases, pool), key=lambda each: each.case.number)


def _checked(job: SweepJob, cases: list[PointInput], pool: WeightPool) -> Iterator[BackendSeries]:
    """Every backend at every point it can run, compared with the reference before any timing."""
    references = [list(_outputs(loop(), case, pool)) for case in cases]
    for name in job.backends:
        backend = make(name, job.device.device, pool.w2.dtype)
        packed = backend.pack(pool) if backend.pack else pool
        for case, reference in zip(cases, references, strict=True):
            if not backends.unsupported(name, job.points[case.number]):
                series = BackendSeries(case, name, backend, packed)
                _check(series, reference)
                yield series


def _check(series: BackendSeries, reference: list[torch.Tensor]) -> None:
    try:
        outputs = _outputs(series.backend, series.case, series.pool)
        apart = [disagreement(a, b) for a, b in zip(outputs, reference, strict=True)]
    except Exception as error:  # noqa: BLE001 - a foreign kernel may raise anything
        series.failure = _short(error)
        return
    if not all(math.isfinite(each) for each in apart):
        series.failure = "gives values that are not finite where the reference does not"
        return
    series.disagreement = max(apart)
    if not agrees(series.disagreement, series.case.dtype):
        series.failure = f"differs from the reference by {series.disagreement:.2g} of its range"


def _sample(job: SweepJob, series: BackendSeries) -> None:
    if series.failure:
        return
    try:
        series.warm_up(job.warm_ups, job.device.device)
        series.sample(job.samples, job.device.device)
    except Exception as error:  # noqa: BLE001 - the same: one row fails, the sweep goes on
        series.failure = _short(error)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or repr(error)


def _outputs(backend: Backend, case: PointInput, pool: WeightPool) -> Iterator[torch.Tensor]:
    """What it gives at the first and at the last place."""
    for turn in (0, len(case.starts) - 1):
        yield backend.run(case.step, case.place(pool, turn))


def fill(experts: int, weights: rotation.WeightSet, device: str) -> WeightPool:
    """Random weights scaled so that activations stay near one, written expert by expert.

    A whole pool in float32 first would take twice the memory that was checked.
    """
    hidden, width, dtype = weights.hidden, weights.intermediate, getattr(torch, weights.dtype)
    if device == "cpu":
        _still_free(3 * experts * hidden * width * dtype.itemsize, weights)
    w13 = torch.empty(experts, 2 * width, hidden, dtype=dtype, device=device)
    w2 = torch.empty(experts, hidden, width, dtype=dtype, device=device)
    for expert in range(experts):
        w13[expert].normal_(std=hidden**-0.5)
        w2[expert].normal_(std=width**-0.5)
    return WeightPool(w13, w2)


def _still_free(pool_bytes: int, weights: rotation.WeightSet) -> None:
    """Refuse a pool that what was free when the sweep was planned has room for no longer."""
    free = host_memory()[1]
    if pool_bytes > free:
        raise Infeasible(
            f"{weights}: {pool_bytes / GB:.1f} GB of weights, {free / GB:.1f} GB is still free: "
            "something else took the host's memory since the sweep began"
        )


def make(name: str, device: str, dtype: torch.dtype) -> Backend:
    if name == backends.VLLM:
        return vllm(device, dtype)
    return loop() if name == backends.LOOP else grouped(device, dtype)
