"""Routed experts as vLLM returns them, drawn evenly: the simulated model has no router."""

import base64
import io
from collections.abc import Callable

import numpy as np

from catalog.models import Experts


def even_routing(experts: Experts) -> Callable[[int], str]:
    """Return what gives, for a number of tokens, base64 of an `.npy` (tokens, layers, top-k)."""
    rng = np.random.default_rng(0)
    kind = np.uint8 if experts.count <= 256 else np.uint16

    def routed(tokens: int) -> str:
        keys = rng.random((tokens, experts.layers, experts.count))
        chosen = np.argpartition(keys, experts.top_k - 1)[..., : experts.top_k].astype(kind)
        buffer = io.BytesIO()
        np.save(buffer, chosen, allow_pickle=False)
        return base64.b64encode(buffer.getvalue()).decode()

    return routed
