"""What the client says of its own part, as columns of the run table."""

from catalog.units import MS_PER_S
from orchestrator.engine import Figure
from workloads.client.runstats import RunStats


def client_figures(stats: RunStats) -> dict[str, Figure]:
    """Columns that say how well the client did its part."""
    return {
        "client_cpu_share": stats.cpu_share,
        "client_busy_share": stats.busy_share,
        "client_cpu_us_per_event": stats.cpu_us_per_event,
        "client_p99_loop_lag_ms": stats.p99_loop_lag_s * MS_PER_S,
        "client_max_loop_lag_ms": stats.max_loop_lag_s * MS_PER_S,
        "client_coalesced_reads": stats.coalesced_reads,
        "client_reconnects": stats.reconnects,
        "client_reader": "compiled" if stats.compiled_reader else "python",
    }
