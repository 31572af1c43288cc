"""Routed experts as vLLM returns them with an answer that is not streamed."""

import base64
import io

import numpy as np
from numpy.typing import NDArray

FIELD = "routed_experts"
"""Of a choice; tokens of prompt and answer, but the last, which has not gone through the model."""


def encode_routed(chosen: NDArray[np.integer], experts: int) -> str:
    """Return base64 of an `.npy` of shape (tokens, layers, top-k), each below `experts`."""
    kind = np.uint8 if experts <= 256 else np.uint16
    buffer = io.BytesIO()
    np.save(buffer, chosen.astype(kind), allow_pickle=False)
    return base64.b64encode(buffer.getvalue()).decode()
