"""How unevenly tokens lie over experts, and over the ranks that hold these."""

import numpy as np
from numpy.typing import NDArray

from catalog.errors import UnknownName
from strategies.knobs import PLACEMENTS

LINEAR, ROUND_ROBIN = PLACEMENTS

TokenCounts = NDArray[np.int64]
"""Tokens by layer and expert, shape (layers, experts); a token counts once for each it chose."""


def rank_tokens(tokens: TokenCounts, ranks: int, placement: str = LINEAR) -> TokenCounts:
    """Sum over each rank's experts, shape (…, layers, ranks), as vLLM places them.

    `linear` gives a rank a contiguous share, the first ranks one more if uneven; `round_robin`
    gives expert i to rank i mod ranks.
    """
    if placement == LINEAR:
        parts = np.array_split(tokens, ranks, axis=-1)
    elif placement == ROUND_ROBIN:
        parts = [tokens[..., rank::ranks] for rank in range(ranks)]
    else:
        raise UnknownName("placement", placement, PLACEMENTS)
    return np.stack([part.sum(axis=-1) for part in parts], axis=-1)


def max_over_mean(tokens: TokenCounts) -> NDArray[np.float64]:
    """Return the busiest's part over an even share, along the last axis; NaN of nothing."""
    mean = tokens.mean(axis=-1)
    return np.asarray(np.divide(tokens.max(axis=-1), mean, where=mean > 0, out=mean * np.nan))


def balance_figures(tokens: TokenCounts, ranks: int | None) -> dict[str, float | None]:
    """Summarise the balance: means over layers, and the worst layer.

    max/mean is the busiest expert's tokens over the mean; Gini is 0 for an equal share and nears 1
    when one expert gets all; a dead expert of a layer got no token.
    """
    if not len(tokens):
        return {}
    shares = max_over_mean(tokens)
    summary: dict[str, float | None] = {
        "expert_tokens": float(tokens.sum()),
        "expert_max_over_mean": float(shares.mean()),
        "expert_max_over_mean_worst_layer": float(shares.max()),
        "expert_gini": float(np.mean([gini(layer) for layer in tokens])),
        "dead_experts": float((tokens == 0).sum(axis=1).mean()),
    }
    if ranks and ranks > 1:
        summary["rank_max_over_mean"] = float(max_over_mean(rank_tokens(tokens, ranks)).mean())
    return summary


def gini(values: NDArray[np.int64]) -> float:
    """G = Σᵢ (2i − n − 1) xᵢ / (n Σ xᵢ) with x in ascending order, i from 1."""
    ordered = np.sort(values).astype(float)
    count, total = len(ordered), ordered.sum()
    order = 2 * np.arange(1, count + 1) - count - 1
    return float(order @ ordered / (count * total)) if total else 0.0
