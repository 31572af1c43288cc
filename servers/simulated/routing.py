"""Routed experts as vLLM returns them, drawn evenly: the simulated model has no router."""

from collections.abc import Callable

import numpy as np

from catalog.models import Experts
from servers.http.routed_experts import encode_routed


def even_routing(experts: Experts) -> Callable[[int], str]:
    """Return what gives, for a number of tokens, base64 of an `.npy` (tokens, layers, top-k)."""
    rng = np.random.default_rng(0)

    def routed(tokens: int) -> str:
        keys = rng.random((tokens, experts.layers, experts.count))
        chosen = np.argpartition(keys, experts.top_k - 1)[..., : experts.top_k]
        return encode_routed(chosen, experts.count)

    return routed
