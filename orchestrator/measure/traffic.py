"""One run's traffic: prompts and due times, drawn whole before it starts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.experiment.cells import Run
from workloads.load.arrivals import due_times
from workloads.load.dispatch import Dispatcher
from workloads.load.prompts import TokenIds
from workloads.load.text_prompts import TextPrompts, prompts_for


@dataclass(frozen=True, slots=True)
class Traffic:
    """Prompts (count × length token ids, or texts) and, in an open loop, when each is due."""

    prompts: TokenIds | list[str]
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


def traffic_of(run: Run, *, vocab: int, texts: TextPrompts | None = None, salt: int = 0) -> Traffic:
    """Draw a run's traffic; a `salt` makes prompts that no study before has sent."""
    prompts, _ = run.cell.traffic_rng(run.replicate).spawn(2)
    if salt:
        prompts = np.random.default_rng([salt, int(prompts.integers(2**62))])
    count, length = run.cell.num_prompts, run.cell.workload.input_len
    return Traffic(
        prompts=prompts_for(prompts, count, length, vocab, texts),
        due_s=due_of(run),
        max_concurrency=run.cell.load.max_concurrency,
    )
