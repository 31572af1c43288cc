"""Was the client the bottleneck? Judged from what it knows of itself."""

from workloads.client.runstats import RunStats

MOST_BUSY = 0.8
LATEST_DISPATCH_S = 0.005
"""At the 99th percentile; later than that a schedule was not kept."""
SEND_S = 20e-6
"""What a send may take: of n requests due at one instant the last goes n of these later."""
LATEST_LOOP_S = 0.020
"""At the 99th percentile: what the loop is late, tokens are read late."""
LONGEST_PAUSE_S = 1.0
"""Of the loop at once: nothing that the client computes takes so long."""
ADVICE = "give the client a core of its own, or more processes with --client-workers"


def client_limited(stats: RunStats) -> str | None:
    """Return the reason why the client's own limits are in the numbers; None when they are not."""
    if stats.max_loop_lag_s > LONGEST_PAUSE_S:
        return (
            f"CLIENT_LIMITED: the client did not run for {stats.max_loop_lag_s:.1f} s at once "
            f"(limit {LONGEST_PAUSE_S:.0f} s), as in a suspended job, container or machine, or on "
            "a disk that stalls, and that is in the times; measure where nothing holds it up"
        )
    latest_dispatch_s = LATEST_DISPATCH_S + SEND_S * stats.peak_in_flight
    if stats.busy_share > MOST_BUSY:
        found = f"the client was busy {stats.busy_share:.0%} of the time (limit {MOST_BUSY:.0%})"
    elif stats.p99_dispatch_lag_s > latest_dispatch_s:
        found = (
            f"1 % of the requests were sent more than {stats.p99_dispatch_lag_s * 1e3:.1f} ms "
            f"after they were due (limit {latest_dispatch_s * 1e3:.1f} ms)"
        )
    elif stats.p99_loop_lag_s > LATEST_LOOP_S:
        found = (
            f"the client's loop was late by {stats.p99_loop_lag_s * 1e3:.1f} ms at its 99th "
            f"percentile (limit {LATEST_LOOP_S * 1e3:.0f} ms), so tokens were read late"
        )
    else:
        return None
    return f"CLIENT_LIMITED: {found}; {ADVICE}"
