"""Figures of traffic whose requests are not all alike: how long they were, and what was cached."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from workloads.transcript import RequestRow

QUANTILES = {"median": 50, "p90": 90, "p99": 99}


def length_figures(rows: Sequence[RequestRow]) -> dict[str, float | None]:
    """Mean, quantiles and extremes of the tokens of the completed requests' prompts and answers."""
    done = [row for row in rows if row.status == "ok"]
    inputs = [row.input_tokens for row in done if row.input_tokens is not None]
    return {
        **_figures("input_tokens", inputs),
        **_figures("output_tokens", [row.output_tokens for row in done]),
    }


def _figures(name: str, counts: Iterable[int]) -> dict[str, float | None]:
    tokens = np.fromiter(counts, np.float64)
    if not len(tokens):
        return {f"mean_{name}": None}
    quantiles = {f"{each}_{name}": np.percentile(tokens, q) for each, q in QUANTILES.items()}
    found = {f"mean_{name}": tokens.mean(), **quantiles, f"max_{name}": tokens.max()}
    return {key: float(value) for key, value in found.items()}


def cache_figures(rows: Sequence[RequestRow], server: Mapping[str, Any]) -> dict[str, float | None]:
    """Share of the prompt tokens that came from the prefix cache.

    `prefix_hit_share` by the server's counters, `cached_token_share` by the usage of the answers;
    None where that says nothing.
    """
    queries = server.get("server_prefix_cache_queries")
    hits = server.get("server_prefix_cache_hits")
    told = [row for row in rows if row.cached_tokens is not None and row.server_input_tokens]
    read = sum(row.server_input_tokens or 0 for row in told)
    cached = sum(row.cached_tokens or 0 for row in told)
    return {
        "prefix_hit_share": hits / queries if queries and hits is not None else None,
        "cached_token_share": cached / read if read else None,
    }
