"""Which experts a batch touches, and how unevenly, for uniform and skewed routing."""

import functools
import math
from statistics import NormalDist

import msgspec
import numpy as np

from catalog.errors import BadValue
from perfmodel.arrays import FloatArray, Real


class RoutingSkew(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


UNIFORM = RoutingSkew()


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


def touched(experts: int, top_k: int, tokens: Real, *, routing: RoutingSkew = UNIFORM) -> Real:
    """Expected distinct experts that `tokens` tokens use: Σ 1 − (1 − p_e)^T; uniform p_e = k / E.

    Tokens choose independently; the experts of one token are distinct.
    """
    if routing.zipf == 0:
        return experts * (1.0 - (1.0 - top_k / experts) ** tokens)
    idle = (1.0 - inclusion(experts, top_k, zipf=routing.zipf)) ** np.expand_dims(tokens, -1)
    total: FloatArray = (1.0 - idle).sum(axis=-1)
    return total if total.ndim else float(total)


def by_chance(count: Real, ranks: Real, *, of: float = math.inf, spread: float = 0.0) -> FloatArray:
    """Return the fullest rank's part over an even share, where `count` things fall on it by chance.

    1 + E[largest of p normals] sqrt(p (1 / n + v²)), at most p, with v² = `spread` the variance of
    a rank's share beside chance, over p; things drawn from `of` distinct ones spread less, by
    sqrt(1 − n / of). The mean of the largest is Blom's approximation (1958); that shares add up to
    one makes them vary more against each other, p in place of p − 1.
    """
    left = np.maximum(0.0, 1.0 - np.asarray(count) / of)
    varied = left / np.maximum(count, _LEAST) + spread
    return np.minimum(1.0 + _largest_normal(ranks) * np.sqrt(ranks * varied), ranks)


_LEAST = 1e-12


def _largest_normal(ranks: Real) -> Real:
    """E[largest of p standard normals]; 0 of one."""
    kinds, where = np.unique(np.asarray(ranks, dtype=np.float64), return_inverse=True)
    found = np.array([_blom(int(each)) for each in kinds])
    return found[where].reshape(np.shape(ranks))


@functools.cache
def _blom(ranks: int) -> float:
    return NormalDist().inv_cdf((ranks - 0.375) / (ranks + 0.25))


def fullest(
    hit: Real, pairs: Real, ranks: Real, *, experts: int, popularity_cv: float
) -> tuple[FloatArray, FloatArray]:
    """Return the touched experts, and the token-expert pairs, of the fullest of `ranks` ranks.

    Each times the ranks, as `hit` and `pairs` are those of all. Popularities vary from expert to
    expert by `popularity_cv`, their standard deviation over their mean, and experts lie on ranks
    without regard to it: a rank's share then varies by cv² p / E, which by_chance takes over p.
    """
    read = np.minimum(hit * by_chance(hit, ranks, of=experts), experts)
    return read, pairs * by_chance(pairs, ranks, spread=popularity_cv**2 / experts)


def busiest_share(experts: int, top_k: int, ranks: int, *, routing: RoutingSkew = UNIFORM) -> float:
    """Return the busiest rank's part of the token-expert pairs, over an even share.

    Experts lie in blocks of their popularity's order, vLLM's linear placement at its worst.
    """
    if ranks <= 1:
        return 1.0
    chance = inclusion(experts, top_k, zipf=routing.zipf)
    loads = [part.sum() for part in np.array_split(chance, ranks)]
    return float(max(loads) * ranks / top_k) * routing.imbalance
