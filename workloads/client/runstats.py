"""What the client knows of itself."""

from array import array
from collections.abc import Sequence

import msgspec
import numpy as np


class RunStats(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well the client did its part while the load ran; seconds from `perf_counter`."""

    workers: int = 1
    duration_s: float
    requests: int
    """Requests that have ended, well or badly."""
    sent: int
    reads: int
    bytes: int
    events: int
    coalesced_reads: int
    """Reads that brought more than one event."""
    connects: int
    reconnects: int
    """Connections that the server had closed between two requests."""
    peak_in_flight: int
    cpu_s: float
    """CPU time of the client's thread while the load ran, the other tasks of its loop included."""
    cpu_share: float
    busy_share: float
    """Share of the time that was spent reading and sending, the busiest worker's."""
    decode_s: float
    longest_turn_s: float
    """A socket with something to read has waited no longer than this for its turn."""
    mean_loop_lag_s: float
    p99_loop_lag_s: float
    max_loop_lag_s: float
    """Event loop lag: how much later than asked a timer fired (a timer is good to 1 ms)."""
    mean_dispatch_lag_s: float
    p99_dispatch_lag_s: float
    max_dispatch_lag_s: float
    """Send minus due."""
    unsent: int = 0
    """Requests that were never sent, because the run was stopped."""
    compiled_reader: bool = False
    """Whether tokens were read by compiled code, not by the same in Python."""

    @property
    def cpu_us_per_event(self) -> float | None:
        return self.cpu_s / self.events * 1e6 if self.events else None


def spread(values: "array[float]") -> tuple[float, float, float]:
    """Return mean, p99 and maximum; zeros for nothing."""
    if not values:
        return 0.0, 0.0, 0.0
    figures = np.asarray(values)
    return float(figures.mean()), float(np.percentile(figures, 99)), float(figures.max())


SUMMED = frozenset(
    ("workers", "requests", "sent", "reads", "bytes", "events", "coalesced_reads", "connects",
     "reconnects", "peak_in_flight", "cpu_s", "cpu_share", "decode_s")
)  # fmt: skip
"""Fields that add up over processes; of the others the worst process counts."""


def merged(parts: Sequence[RunStats]) -> RunStats:
    """Return the account of a client of several processes."""
    if len(parts) == 1:
        return parts[0]
    figures: dict[str, float] = {}
    for name in RunStats.__struct_fields__:
        values = [getattr(part, name) for part in parts]
        figures[name] = sum(values) if name in SUMMED else max(values)
    requests = int(figures["requests"])
    figures["mean_dispatch_lag_s"] = sum(
        part.mean_dispatch_lag_s * part.requests for part in parts
    ) / max(1, requests)
    # Each process knows how long the whole queue is and what it sent itself.
    figures["unsent"] = parts[0].unsent + parts[0].sent - figures["sent"]
    return msgspec.convert(figures, RunStats)
