"""Did a run hold still? The trend of its latencies and of its queue over the steady window."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.figures.steady import in_flight, steady_window
from workloads.transcript import Transcript

BATCHES = 10
T_99 = 3.355
"""Student's t at 99 %, two-sided, for the BATCHES - 2 degrees of freedom of a line."""
FEWEST = 3 * BATCHES
"""Requests below which nothing is said of a trend."""
SETTLED = 3.0
"""A window shorter than this many times the fastest request shows waves, not a trend; under
overload a typical request is as long as the window."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Change over the window as a share of the mean, with its 99 % interval."""

    change: float
    low: float
    high: float

    def beyond(self, share: float) -> bool:
        """True when even the interval's nearer end is more than `share` away from none."""
        return self.low > share or self.high < -share


def trend(at_s: NDArray[np.float64], values: NDArray[np.float64]) -> Trend | None:
    """Fit a line through the means of ten batches in time order; None for too few values.

    Neighbouring requests wait in one queue and are not independent, their batches' means nearly
    are: least squares on those, as for batch means in steady-state simulation.
    """
    known = ~np.isnan(values) & ~np.isnan(at_s)
    if known.sum() < FEWEST:
        return None
    order = np.argsort(at_s[known], kind="stable")
    batches = np.array_split(order, BATCHES)
    x = np.array([at_s[known][batch].mean() for batch in batches])
    y = np.array([values[known][batch].mean() for batch in batches])
    x = x - x.mean()
    spread = float(x @ x)
    if spread == 0 or y.mean() == 0:
        return None
    slope = float(x @ y) / spread
    rest = y - y.mean() - slope * x
    error = float(np.sqrt(rest @ rest / (BATCHES - 2) / spread))
    length_s, mean = float(np.ptp(at_s[known])), float(y.mean())
    change, margin = slope * length_s / mean, T_99 * error * length_s / abs(mean)
    return Trend(change, change - margin, change + margin)


def latency_trend(run: Transcript, max_concurrency: int | None) -> Trend | None:
    """Return the trend of the time from send to end, over the requests sent in the window."""
    chosen = _sent_within(run.completed, max_concurrency, run)
    if chosen is None:
        return None
    return trend(chosen.sent_s, chosen.done_s - chosen.sent_s)


def queue_trends(run: Transcript) -> tuple[Trend | None, Trend | None]:
    """Return the trends of an open loop's number in flight and of its TTFT."""
    chosen = _sent_within(run.completed, None, run)
    if chosen is None:
        return None, None
    instants, flying = in_flight(run)
    found = np.searchsorted(instants, chosen.sent_s, side="right") - 1
    waiting = trend(chosen.sent_s, flying[found].astype(np.float64))
    return waiting, trend(chosen.sent_s, chosen.first_token_s - chosen.due_s)


def _sent_within(
    done: Transcript, max_concurrency: int | None, run: Transcript
) -> Transcript | None:
    """Choose the completed requests sent in the steady window, if that is long enough to judge."""
    window = steady_window(run, max_concurrency)
    if window is None or not len(done):
        return None
    start_s, end_s = window
    if end_s - start_s < SETTLED * float(np.min(done.done_s - done.sent_s)):
        return None
    return done.where(done.sent_within(start_s, end_s))
