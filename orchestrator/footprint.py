"""What a configuration took of memory and moved, as columns of its runs."""

from collections.abc import Mapping
from typing import Any

from orchestrator.engines.base import Figure
from orchestrator.samples import Samples
from workloads.server_metrics import parse_metrics

TOLD = ("model_memory_bytes", "kv_tokens_capacity", "device_memory_bytes", "quantised_share")
"""Of what the server says of itself once: columns of every run on it."""
DECODER = "moeserve_decoder_"


def footprint_figures(
    host: Samples, details: Mapping[str, Any], before: str | None, after: str | None
) -> dict[str, Figure]:
    """Return peak host memory, what the server said it holds, and what its decoder counted.

    Host memory is the sum of the resident sets of the server's processes: pages that they share
    count in each of them.
    """
    resident = [value for value in host.column("resident_bytes") if isinstance(value, int | float)]
    told = {name: details[name] for name in TOLD if isinstance(details.get(name), int | float)}
    return {
        "peak_host_memory_bytes": max(resident, default=None),
        **told,
        **decoder_figures(before, after),
    }


def decoder_figures(before: str | None, after: str | None) -> dict[str, Figure]:
    """Return how far the totals of moeserve's own decoders rose, and the shares they give."""
    if before is None or after is None:
        return {}
    old, new = parse_metrics(before), parse_metrics(after)
    names = {name for name, _ in new.values if name.startswith(DECODER) and name.endswith("_total")}
    risen = {
        name.removeprefix(DECODER).removesuffix("_total"): (new.total(name) or 0.0)
        - (old.total(name) or 0.0)
        for name in sorted(names)
    }
    looked_up = risen.get("expert_hits", 0.0) + risen.get("expert_misses", 0.0)
    if looked_up:
        risen["expert_hit_rate"] = risen["expert_hits"] / looked_up
    return dict(risen)
