"""What decoding needs in memory, estimated before anything is loaded."""

import psutil

from catalog.errors import Infeasible
from catalog.models import Model
from catalog.units import DTYPE_BYTES, gib
from servers.huggingface.diffusion.options import DiffusionOptions

LOGIT_COPIES = 3
"""In the weights' type, in float32, and the temporary of their logarithmic sum."""
HIDDEN_COPIES = 8
"""Residual, norms, query, key, value, attention's result and its projection."""


def needed_bytes(model: Model, options: DiffusionOptions, tokens: int) -> float:
    """Return weights, caches and the largest temporaries for one answer.

    `tokens` are prompt and answer together: without a causal mask all of them are computed at once.
    """
    element = DTYPE_BYTES.get(model.weight_dtype, 2.0)
    logits = LOGIT_COPIES * min(options.block_length, tokens) * model.vocab * 4.0
    cache = model.kv_elements_per_token * tokens * element if options.kv_cache != "none" else 0.0
    hidden = HIDDEN_COPIES * tokens * model.hidden * element
    weights = model.total_params * element
    return weights + logits + cache + hidden + _inside(model, options, tokens) * element


def _inside(model: Model, options: DiffusionOptions, tokens: int) -> float:
    """Elements within one feed-forward part; padding is as bad as it can be: one busy expert."""
    experts = model.experts
    if experts is None:
        return 3.0 * tokens * model.dense_width
    pairs = experts.count * tokens if options.experts == "batched" else experts.top_k * tokens
    return float(pairs * (2 * model.hidden + 3 * experts.width))


def check_memory(
    model: Model, options: DiffusionOptions, tokens: int, *, available_bytes: float | None = None
) -> None:
    """Raise Infeasible if it does not fit; without a figure, what this host has left counts."""
    free = psutil.virtual_memory().available if available_bytes is None else available_bytes
    needed = needed_bytes(model, options, tokens)
    if needed > free:
        raise Infeasible(
            f"{model.name} with {tokens} tokens needs about {gib(needed)} (weights "
            f"{gib(model.total_params * DTYPE_BYTES.get(model.weight_dtype, 2.0))}), "
            f"{gib(free)} are free here: a shorter length, a smaller model or --block-length"
        )
