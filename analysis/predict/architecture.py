"""Synthetic architectures: drawn from the ranges that published MoE models span."""

import numpy as np

from catalog.models import Experts, GroupedQueryAttention, Model

HEAD_DIM = 128
VOCAB = (32000, 50304, 102400, 151936, 201088)
EXPERTS = (8, 16, 32, 60, 64, 96, 128, 160, 256)
TOP_K = (1, 2, 4, 6, 8)
HIDDEN = (1536, 2048, 2560, 3072, 4096, 5120, 6144, 7168)
KV_HEADS = (2, 4, 8)
ROUNDED_TO = 256
LARGEST_PARAMS = 700e9


def synthetic_models(count: int, rng: np.random.Generator) -> tuple[Model, ...]:
    """Draw models; those beyond any catalogued size are drawn again."""
    models: list[Model] = []
    while len(models) < count:
        model = _draw(f"synthetic-{len(models):04d}", rng)
        if model.total_params <= LARGEST_PARAMS:
            models.append(model)
    return tuple(models)


def _draw(name: str, rng: np.random.Generator) -> Model:
    hidden = int(rng.choice(HIDDEN))
    experts = int(rng.choice(EXPERTS))
    layers = int(rng.integers(12, 65))
    heads = 2 ** round(np.log2(hidden / HEAD_DIM))
    # Experts of 8-expert models are wider than the hidden size, of 256-expert ones a fraction.
    width = hidden * float(np.exp(rng.normal(np.log(4.0 * (8 / experts) ** 0.8), 0.4)))
    shared = float(rng.choice((0, 1, 2, 4), p=(0.5, 0.25, 0.15, 0.1)))
    rounded = max(1, round(width / ROUNDED_TO)) * ROUNDED_TO
    return Model(
        name=name,
        hf_id=None,
        layers=layers,
        hidden=hidden,
        vocab=int(rng.choice(VOCAB)),
        attention=GroupedQueryAttention(
            heads=heads,
            kv_heads=min(heads, int(rng.choice((*KV_HEADS, heads)))),
            head_dim=HEAD_DIM,
            qk_norm="head" if rng.random() < 0.5 else "none",
        ),
        experts=Experts(
            count=experts,
            top_k=int(rng.choice([k for k in TOP_K if k < experts])),
            width=rounded,
            layers=layers,
            shared_width=int(shared) * rounded,
        ),
        dense_width=0,
        tied_embeddings=bool(rng.random() < 0.2),
        max_context=32768,
        source="synthetic: drawn at random",
    )
