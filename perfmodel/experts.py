"""Which experts a batch touches, and how unevenly, for uniform and skewed routing."""

import math

import msgspec
import numpy as np

from catalog.errors import BadValue
from perfmodel.arrays import FloatArray, Real


class Routing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens choose experts; the default is uniform and independent."""

    zipf: float = 0.0
    """Expert i is chosen in proportion to 1 / i^zipf; 0 is uniform."""
    imbalance: float = 1.0
    """Load of the busiest rank over the mean, beside what the skew itself causes."""

    def __post_init__(self) -> None:
        if not 0 <= self.zipf <= 10:
            raise BadValue("zipf", self.zipf, "0 to 10")
        if not 1 <= self.imbalance < math.inf:
            raise BadValue("imbalance", self.imbalance, "1 or more")


UNIFORM = Routing()


def inclusion(experts: int, top_k: int, *, zipf: float = 0.0) -> FloatArray:
    """Return the chance that a token's top k holds each expert, shape (experts,), sum top_k.

    Proportional to 1 / rank^zipf, held at one for experts that every token would choose.
    """
    weights = np.arange(1, experts + 1, dtype=np.float64) ** -zipf
    chance = np.zeros(experts)
    left = np.ones(experts, dtype=bool)
    while left.any():
        share = (top_k - chance[~left].sum()) * weights[left] / weights[left].sum()
        over = share >= 1.0
        if not over.any() or over.all():
            chance[left] = np.minimum(share, 1.0)
            break
        certain = np.flatnonzero(left)[over]
        chance[certain] = 1.0
        left[certain] = False
    return chance


def touched(experts: int, top_k: int, tokens: Real, *, routing: Routing = UNIFORM) -> Real:
    """Expected distinct experts that `tokens` tokens use: Σ 1 − (1 − p_e)^T; uniform p_e = k / E.

    Tokens choose independently; the experts of one token are distinct.
    """
    if routing.zipf == 0:
        return experts * (1.0 - (1.0 - top_k / experts) ** tokens)
    idle = (1.0 - inclusion(experts, top_k, zipf=routing.zipf)) ** np.expand_dims(tokens, -1)
    total: FloatArray = (1.0 - idle).sum(axis=-1)
    return total if total.ndim else float(total)


def busiest_share(experts: int, top_k: int, ranks: int, *, routing: Routing = UNIFORM) -> float:
    """Return the busiest rank's part of the token-expert pairs, over an even share.

    Experts lie in blocks of their popularity's order, vLLM's linear placement at its worst.
    """
    if ranks <= 1:
        return 1.0
    chance = inclusion(experts, top_k, zipf=routing.zipf)
    loads = [part.sum() for part in np.array_split(chance, ranks)]
    return float(max(loads) * ranks / top_k) * routing.imbalance
