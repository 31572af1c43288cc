"""What a configuration took of memory and moved, as columns of its runs."""

from collections.abc import Mapping
from typing import Any

from orchestrator.engine import Figure
from orchestrator.measure.samples import SampleTable
from workloads.figures.server_metrics import parse_metrics, window

SERVER_FIGURES = (
    "model_memory_bytes",
    "kv_tokens_capacity",
    "device_memory_bytes",
    "quantised_share",
    "pruned_share",
    "host_weight_bytes",
    "disk_weight_bytes",
)
"""Of what the server says of itself once: columns of every run on it."""
DECODER_COUNTERS = (
    "disk_read_bytes",
    "expert_chosen",
    "expert_hits",
    "expert_host_computed",
    "expert_misses",
    "expert_moved_bytes",
    "expert_prefetch_hits",
    "expert_prefetched",
    "expert_skipped",
    "forward_passes",
    "positions_computed",
    "weights_moved_bytes",
)
"""Of our own decoders; any other name would let a server write columns of its choice."""


def memory_figures(
    host: SampleTable, details: Mapping[str, Any], before: str | None, after: str | None
) -> dict[str, Figure]:
    """Return peak host memory, what the server said it holds, and what its decoder counted.

    Host memory is the sum of the resident sets of the server's processes: pages that they share
    count in each of them.
    """
    resident = [value for value in host.column("resident_bytes") if isinstance(value, int | float)]
    reported = {
        name: details[name] for name in SERVER_FIGURES if isinstance(details.get(name), int | float)
    }
    return {
        "peak_host_memory_bytes": max(resident, default=None),
        **reported,
        **decoder_figures(before, after),
    }


def decoder_figures(before: str | None, after: str | None) -> dict[str, Figure]:
    """Return how far the totals of moeserve's own decoders rose, and the shares they give."""
    if before is None or after is None:
        return {}
    old, new = parse_metrics(before), parse_metrics(after)
    if window(old, new).restarted:
        return {}
    risen = {
        name: total - (old.total(metric) or 0.0)
        for name in DECODER_COUNTERS
        if (total := new.total(metric := f"moeserve_decoder_{name}_total")) is not None
    }
    looked_up = risen.get("expert_hits", 0.0) + risen.get("expert_misses", 0.0)
    if looked_up:
        risen["expert_hit_rate"] = risen.get("expert_hits", 0.0) / looked_up
    chosen = risen.pop("expert_chosen", 0.0)
    if chosen:
        risen["expert_skip_share"] = risen.get("expert_skipped", 0.0) / chosen
    return dict(risen)
