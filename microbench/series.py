"""One backend at one point: its input, where its steps read, its samples."""

from dataclasses import dataclass, field

import torch

from microbench import backends, rotation
from microbench.backends.base import Backend, ExpertStep, WeightPool
from microbench.clock import sampled, timed
from microbench.messages import PointTimings, SweepJob
from microbench.routing import route, router_weights, touched


@dataclass(frozen=True, slots=True)
class PointInput:
    """A point with its input and where its steps read."""

    number: int
    dtype: str
    step: ExpertStep
    starts: tuple[int, ...]
    experts: int

    def place(self, pool: WeightPool, turn: int) -> WeightPool:
        return pool.place(self.starts[turn % len(self.starts)], self.experts)


@dataclass(slots=True)
class BackendSeries:
    """One backend at one point, and its samples so far."""

    case: PointInput
    name: str
    backend: Backend
    pool: WeightPool
    disagreement: float | None = None
    failure: str = ""
    turn: int = 0
    interrupted: int = 0
    seconds: list[float] = field(default_factory=list)
    paces: list[float] = field(default_factory=list)

    def step(self, offset: int) -> object:
        return self.backend.run(self.case.step, self.case.place(self.pool, self.turn + offset))

    def warm_up(self, count: int, device: str) -> None:
        timed(self.step, count, device=device)
        self.turn += count

    def sample(self, count: int, device: str) -> None:
        """Time the next steps; the walk over the places goes on where it ended."""
        samples = sampled(self.step, count, device=device)
        self.turn += samples.tried
        self.seconds += samples.seconds
        self.interrupted += samples.interrupted

    def timings(self) -> PointTimings:
        return PointTimings(
            point=self.case.number,
            backend=self.name,
            kernel=self.backend.kernel,
            seconds=() if self.failure else tuple(self.seconds),
            interrupted=self.interrupted,
            bytes_per_s=tuple(self.paces),
            disagreement=None if self.name == backends.LOOP else self.disagreement,
            failure=self.failure,
        )


def case_of(job: SweepJob, number: int) -> PointInput:
    point, device = job.points[number], job.device.device
    ids = route(point, job.routing)
    places = rotation.places(point, touched(ids), job.device.cache_bytes)
    hidden = torch.randn(point.batch, point.hidden, device=device)
    step = ExpertStep(
        hidden=hidden.to(getattr(torch, point.dtype)),
        topk_ids=torch.from_numpy(ids).to(device),
        topk_weights=torch.from_numpy(router_weights(point, job.routing)).to(device),
        active=point.active_experts,
    )
    starts = tuple(turn * point.active_experts for turn in range(places))
    return PointInput(number, point.dtype, step, starts, point.experts)
