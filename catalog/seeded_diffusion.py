"""Diffusion models of moeserve's own: seeded random weights in the shape of the LLaDA pair.

Both of a pair have the same attention and, but for the router, the same active parameters: a dense
layer is as wide as the experts that a token uses.
"""

import msgspec

from catalog.models import Experts, GroupedQueryAttention, Model

_SOURCE = "moeserve's own seeded random checkpoint: the shape of a LLaDA model, no skill"


def _pair(size: str, *, layers: int, hidden: int, vocab: int, width: int) -> tuple[Model, Model]:
    """Return a dense model, and the same with 64 experts of this width of which 8 are active."""
    experts = Experts(count=64, top_k=8, width=width, layers=layers)
    heads = max(4, hidden // 64)
    attention = GroupedQueryAttention(
        heads=heads, kv_heads=heads, head_dim=hidden // heads, qk_norm="head"
    )
    moe = Model(
        name=f"{size}-llada-moe",
        hf_id=None,
        layers=layers,
        hidden=hidden,
        vocab=vocab,
        attention=attention,
        experts=experts,
        dense_width=0,
        tied_embeddings=False,
        max_context=2048,
        kind="diffusion",
        weight_dtype="float32",
        source=_SOURCE,
    )
    dense = msgspec.structs.replace(
        moe,
        name=f"{size}-llada",
        attention=msgspec.structs.replace(attention, qk_norm="none"),
        experts=None,
        dense_width=experts.top_k * experts.width,
    )
    return dense, moe


SEEDED_DIFFUSION = (
    *_pair("tiny", layers=2, hidden=128, vocab=512, width=32),
    *_pair("small", layers=2, hidden=512, vocab=2048, width=256),
)
