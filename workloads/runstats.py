"""What the client knows of itself."""

from array import array

import msgspec
import numpy as np


class RunStats(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well the client did its part while the load ran; seconds from `perf_counter`."""

    workers: int = 1
    duration_s: float
    requests: int
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
    """The longest that a socket with something to read may have waited for its turn."""
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

    @property
    def cpu_us_per_event(self) -> float | None:
        return self.cpu_s / self.events * 1e6 if self.events else None


def spread(values: "array[float]") -> tuple[float, float, float]:
    """Return mean, p99 and maximum; zeros for nothing."""
    if not values:
        return 0.0, 0.0, 0.0
    figures = np.asarray(values)
    return float(figures.mean()), float(np.percentile(figures, 99)), float(figures.max())
