"""What a server runs by two witnesses: the ranks' lines of its log, and its own configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.engines.vllm.choices import choices_told
from orchestrator.engines.vllm.readback import Observed, observed
from orchestrator.engines.vllm.server_info import Configured, configured
from orchestrator.measure.control import Control
from strategies.layout import Layout
from workloads.figures.server_metrics import parse_metrics

CACHE = "vllm:cache_config_info"


@dataclass(frozen=True, slots=True)
class Account:
    """A running server, as far as its witnesses agree."""

    seen: Observed
    configured: Configured | None
    """None where the server does not say its configuration: before 0.11.0, or off loopback."""
    chosen: Mapping[str, str]
    cache_tokens: frozenset[int] = frozenset()
    """Tokens of one engine's cache by its metrics; from 0.24 on."""

    def difference(self, asked: Layout) -> str | None:
        """Say how the running layout differs from the asked one; None when it does not."""
        ran, told = self.seen.layout, self.configured.layout if self.configured else None
        if ran is None:
            return "the server's log does not say, or contradicts itself on, which layout it runs"
        if told is not None and told != ran:
            return f"its configuration says {told.name}, its ranks say {ran.name}"
        if ran == asked.bare:
            return None
        return f"asked for {asked.bare.name}, the server runs {ran.name}"

    @property
    def kv_tokens_capacity(self) -> int | None:
        """Tokens of cache over all replicas; None where log and metrics contradict each other."""
        capacity, layout = self.seen.kv_tokens_capacity, self.seen.layout
        if capacity is None or layout is None or not self.cache_tokens:
            return capacity
        low, high = (layout.dp * end(self.cache_tokens) for end in (min, max))
        return capacity if low <= capacity <= high else None

    @property
    def details(self) -> dict[str, Any]:
        """What is kept with every run on this server; numbers and choices become columns."""
        seen = self.seen
        witnesses = ["log", *(["/server_info"] if self.configured else [])]
        return {
            "observed_layout": seen.layout.name if seen.layout else None,
            "layout_witnesses": witnesses,
            "kv_tokens_capacity": self.kv_tokens_capacity,
            "kv_tokens_of_log": seen.kv_tokens_capacity,
            "kv_tokens_of_metrics": sorted(self.cache_tokens),
            # A rank speaks for the others unless stages differ.
            "model_memory_bytes": seen.model_memory_bytes if seen.weights_of_all else None,
            "model_memory_bytes_told": seen.model_memory_bytes,
            "non_default_args": seen.non_default_args,
        }


async def account_of(log: str, control: Control) -> Account:
    """Hear both witnesses of a server that is ready."""
    said = await configured(control)
    kernels = choices_told(log)
    chosen = kernels | dict(said.choices if said else {})
    if kernels.get("cuda_graphs") == "none":
        chosen["cuda_graphs"] = "none"  # configured, and none captured
    return Account(observed(log), said, chosen, cache_tokens(await control.metrics()))


def cache_tokens(metrics: str | None) -> frozenset[int]:
    """Tokens of one engine's cache, under each engine's label."""
    if metrics is None:
        return frozenset()
    told = (
        labels.get("kv_cache_size_tokens", "")
        for labels, _ in parse_metrics(metrics).samples(CACHE)
    )
    return frozenset(int(text) for text in told if text.isdecimal() and 0 < len(text) < 19)
