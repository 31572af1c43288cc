"""One run's traffic: requests, prompts and due times, drawn whole before it starts."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.experiment.cells import Run
from workloads.load.arrivals import due_times
from workloads.load.dispatch import Dispatch, Dispatcher
from workloads.load.draw import draw
from workloads.load.rate_curve import parse_curve
from workloads.load.text_prompts import TextPrompts
from workloads.load.traffic import Requests, Traffic
from workloads.load.turns import TurnDispatcher


def traffic_of(run: Run, *, vocab: int, texts: TextPrompts | None = None, salt: int = 0) -> Traffic:
    """Draw a run's traffic; a `salt` makes prompts that no study before has sent."""
    prompts, _ = run.cell.traffic_rng(run.replicate).spawn(2)
    traffic = _drawn(run, prompts)
    if salt:
        prompts = np.random.default_rng([salt, int(prompts.integers(2**62))])
    return replace(traffic, prompts=traffic.requests.prompts(prompts, vocab, texts))


def unwritten(run: Run) -> Traffic:
    """Draw the same traffic for a run in virtual time: nobody reads its prompts."""
    return _drawn(run, run.cell.traffic_rng(run.replicate).spawn(2)[0])


def _drawn(run: Run, rng: np.random.Generator) -> Traffic:
    requests = draw(run.cell.workload, rng, run.cell.num_prompts)
    return Traffic(
        requests=requests,
        due_s=due_of(run, requests),
        max_concurrency=run.cell.load.max_concurrency,
    )


def due_of(run: Run, requests: Requests | None = None) -> NDArray[np.float64] | None:
    """Draw the arrivals of an open loop from a stream of their own; None in a closed loop.

    Later turns have none: NaN. A trace keeps its own gaps, stretched so that its mean rate is the
    one asked for.
    """
    load = run.cell.load
    if load.request_rate is None:
        return None
    recorded_s = None if requests is None else requests.recorded_s
    if recorded_s is not None and recorded_s.any():
        own_rate = (len(recorded_s) - 1) / float(recorded_s[-1])
        return recorded_s * (own_rate / load.request_rate)
    _, arrivals = run.cell.traffic_rng(run.replicate).spawn(2)
    first = np.full(run.cell.num_prompts, True) if requests is None else requests.turn == 0
    shape = float("inf") if load.burstiness is None else load.burstiness
    due_s = np.full(len(first), np.nan)
    count = int(first.sum())
    curve = parse_curve(load.rate_curve) if load.rate_curve else None
    due_s[first] = due_times(
        arrivals, count, rate_per_s=load.request_rate, burstiness=shape, curve=curve
    )
    return due_s


def shared_figures(traffic: Traffic) -> dict[str, float]:
    """Say which share of the prompt tokens a prefix cache of any size could serve at most."""
    content, lengths = traffic.requests.content, traffic.requests.input_lens
    if content is None or not content.counted:
        return {}
    return {"prefix_shareable_share": content.shareable_tokens() / int(lengths.sum())}


def dispatcher_of(traffic: Traffic) -> Dispatch:
    """Return what says which request is due when, in real and in virtual time alike."""
    requests, cap = traffic.requests, traffic.max_concurrency
    due_s = None if traffic.due_s is None else traffic.due_s.tolist()
    if (turns := requests.turns) is not None:
        return TurnDispatcher(turns, max_concurrency=cap, due_s=due_s)
    return Dispatcher(len(requests), max_concurrency=cap, due_s=due_s)
