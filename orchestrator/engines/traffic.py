"""One run's traffic: prompts and due times, drawn whole before it starts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.cells import Run
from workloads.arrivals import due_times
from workloads.dispatch import Dispatcher
from workloads.prompts import token_prompts


@dataclass(frozen=True, slots=True)
class Traffic:
    """Prompts (count × length token ids) and, in an open loop, when each is due."""

    prompts: NDArray[np.int32]
    due_s: NDArray[np.float64] | None
    max_concurrency: int | None

    def dispatcher(self) -> Dispatcher:
        due = None if self.due_s is None else self.due_s.tolist()
        return Dispatcher(len(self.prompts), max_concurrency=self.max_concurrency, due_s=due)


def due_of(run: Run) -> NDArray[np.float64] | None:
    """Draw the arrivals of an open loop from a stream of their own."""
    load = run.cell.load
    if load.request_rate is None:
        return None
    _, arrivals = run.cell.traffic_rng(run.replicate).spawn(2)
    shape = float("inf") if load.burstiness is None else load.burstiness
    return due_times(arrivals, run.cell.num_prompts, rate_per_s=load.request_rate, burstiness=shape)


def traffic_of(run: Run, *, vocab: int) -> Traffic:
    prompts, _ = run.cell.traffic_rng(run.replicate).spawn(2)
    return Traffic(
        prompts=token_prompts(
            prompts,
            count=run.cell.num_prompts,
            length=run.cell.workload.input_len,
            vocab=vocab,
        ),
        due_s=due_of(run),
        max_concurrency=run.cell.load.max_concurrency,
    )
