"""How many requests were in flight when, and when the requested concurrency was really held."""

import numpy as np
from numpy.typing import NDArray

from workloads.transcript import Transcript

TimeWindow = tuple[float, float]


def in_flight(run: Transcript) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the instants at which the number in flight changes and the number from then on."""
    sent = ~np.isnan(run.sent_s) & ~np.isnan(run.done_s)
    instants = np.concatenate([run.sent_s[sent], run.done_s[sent]])
    steps = np.repeat(np.array([1, -1]), int(sent.sum()))
    # At one instant an end comes before a send: the freed slot is what the send uses.
    order = np.lexsort((steps, instants))
    return instants[order], np.cumsum(steps[order])


def peak_concurrency(run: Transcript) -> int:
    _, flying = in_flight(run)
    return int(flying.max(initial=0))


def steady_window(run: Transcript, max_concurrency: int | None) -> TimeWindow | None:
    """Return the window in which the load was the requested one; None if it never was.

    Closed loop: from the first to the last instant at which `max_concurrency` were in flight.
    Open loop: from the first end of a request to the last send, so without ramp and drain.
    """
    instants, flying = in_flight(run)
    if not len(instants):
        return None
    if max_concurrency is None:
        start, end = float(np.nanmin(run.done_s)), float(np.nanmax(run.sent_s))
    else:
        at_load = np.flatnonzero(flying >= max_concurrency)
        if not len(at_load):
            return None
        # The step after the last full one is a request's end: the load held until then.
        start, end = float(instants[at_load[0]]), float(instants[at_load[-1] + 1])
    return (start, end) if end > start else None


def held_concurrency(run: Transcript, window: TimeWindow) -> float:
    """Return the time-mean in flight within the window."""
    start, end = window
    overlap = np.minimum(run.done_s, end) - np.maximum(run.sent_s, start)
    return float(np.nansum(np.maximum(overlap, 0.0))) / (end - start)
