"""Events of several tokens: the time of each token."""

import numpy as np
from numpy.typing import NDArray

from workloads.transcript import Seconds


def shared_times(stamps: Seconds, counts: NDArray[np.int64]) -> Seconds:
    """Return one time a token of events that came at `stamps` with `counts` tokens, none with 0.

    k tokens that arrive at t after a token at p are given p + (t−p)·j/k for j = 1 … k: the gap is
    shared over them. Tokens of the first event all have its time.
    """
    before = np.concatenate([stamps[:1], stamps[:-1]])
    ends = np.cumsum(counts)
    rank = np.arange(1, ends[-1] + 1) - np.repeat(ends - counts, counts)
    share = rank / np.repeat(counts, counts)
    gap = np.repeat(stamps - before, counts)
    times: Seconds = np.repeat(before, counts) + gap * share
    # The last token of an event has the event's own time, free of rounding.
    times[ends - 1] = stamps
    return times
