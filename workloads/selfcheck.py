"""Was the client the bottleneck? Judged from what it knows of itself."""

from workloads.runstats import RunStats

MOST_BUSY = 0.8
LATEST_DISPATCH_S = 0.005
"""At the 99th percentile; later than that a schedule was not kept."""


def client_limited(stats: RunStats) -> str | None:
    """Return the reason why the client's own limits are in the numbers; None when they are not."""
    if stats.busy_share > MOST_BUSY:
        return (
            f"CLIENT_LIMITED: the client was busy {stats.busy_share:.0%} of the time (limit "
            f"{MOST_BUSY:.0%}); give it a machine of its own, or --client-workers"
        )
    if stats.p99_dispatch_lag_s > LATEST_DISPATCH_S:
        return (
            f"CLIENT_LIMITED: p99 send lateness is {stats.p99_dispatch_lag_s * 1e3:.1f} ms (at most "
            f"{LATEST_DISPATCH_S * 1e3:.0f} ms); give the client more processes with "
            "--client-workers or a machine of its own"
        )
    return None
