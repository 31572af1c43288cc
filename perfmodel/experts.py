"""Which experts a batch touches, and how unevenly, for uniform and skewed routing."""

import functools
import math
from statistics import NormalDist

import msgspec
import numpy as np

from catalog.errors import BadValue
from catalog.models import Experts
from perfmodel.arrays import FloatArray, Real


class RoutingSkew(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens choose experts; the default is uniform and independent."""

    zipf: float = 0.0
    """Expert i is chosen in proportion to 1 / i^zipf; 0 is uniform."""
    imbalance: float = 1.0
    """Load of the busiest rank over the mean, beside what the skew itself causes."""
    counts: tuple[tuple[int, ...], ...] = ()
    """Tokens by layer and expert as a model's routers sent them; they take the place of a law."""
    top_k: int | None = None
    """Of the model that was counted; None where the counts do not say."""

    def __post_init__(self) -> None:
        if not 0 <= self.zipf <= 10:
            raise BadValue("zipf", self.zipf, "0 to 10")
        if not 1 <= self.imbalance < math.inf:
            raise BadValue("imbalance", self.imbalance, "1 or more")
        if self.zipf and self.counts:
            raise BadValue("zipf", self.zipf, "0 beside counted experts: one or the other")

    @property
    def uniform(self) -> bool:
        """Whether every expert is chosen alike, as far as anybody knows."""
        return not self.zipf and not self.counts

    def check(self, model: str, experts: Experts) -> None:
        """Refuse counts of a model of another shape."""
        if not self.counts:
            return
        found = (len(self.counts), len(self.counts[0]), self.top_k or experts.top_k)
        wanted = (experts.layers, experts.count, experts.top_k)
        if found != wanted:
            words = "{} layers of {} experts, top {}"
            raise BadValue("--routing", words.format(*found), f"{words.format(*wanted)}: {model}")


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


def choice_chances(experts: int, top_k: int, routing: RoutingSkew) -> FloatArray:
    """Return the chance that a token chooses each expert: (layers, experts), rows sum to top_k.

    One row where all layers are alike.
    """
    if not routing.counts:
        return inclusion(experts, top_k, zipf=routing.zipf)[np.newaxis]
    counts = np.array(routing.counts, dtype=np.float64)
    return np.asarray(np.minimum(counts * top_k / counts.sum(axis=1, keepdims=True), 1.0))


def touched_of(chances: FloatArray, tokens: Real) -> Real:
    """Expected distinct experts of a layer that `tokens` tokens use, in the mean of the layers."""
    idle = (1.0 - chances) ** np.expand_dims(tokens, (-2, -1))
    total: FloatArray = (1.0 - idle).sum(axis=-1).mean(axis=-1)
    return total if total.ndim else float(total)


def touched(experts: int, top_k: int, tokens: Real, *, routing: RoutingSkew = UNIFORM) -> Real:
    """Expected distinct experts that `tokens` tokens use: Σ 1 − (1 − p_e)^T; uniform p_e = k / E.

    Tokens choose independently; the experts of one token are distinct.
    """
    if routing.uniform:
        return experts * (1.0 - (1.0 - top_k / experts) ** tokens)
    return touched_of(choice_chances(experts, top_k, routing), tokens)


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

    Experts lie in blocks, as vLLM's linear placement has them: of a law in the order of their
    popularity, at its worst; of counts in their own, the mean over the layers. A rank gets at most
    all pairs, and of a token at most one for each of its own experts: an imbalance beyond that is
    refused, for it is of no such layout.
    """
    if ranks <= 1:
        return 1.0
    most = min(ranks, math.ceil(experts / ranks) * ranks / top_k)
    if routing.imbalance > most:
        allowed = f"1 to {most:.4g}, all that one of {ranks} ranks can get of top {top_k}"
        raise BadValue("imbalance", routing.imbalance, allowed)
    chances = choice_chances(experts, top_k, routing)
    loads = [part.sum(axis=1) for part in np.array_split(chances, ranks, axis=1)]
    share = float(np.max(loads, axis=0).mean() * ranks / top_k) * routing.imbalance
    return min(share, most)
