"""Which experts each token of a batch is sent to."""

import msgspec
import numpy as np
import numpy.typing as npt

from catalog.errors import BadValue, UnknownName
from microbench.point import Point
from perfmodel.experts import inclusion

ExpertIds = npt.NDArray[np.int32]
KINDS = ("uniform", "random", "zipf")


class RoutingPattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens choose among the active experts, which are the first of all experts."""

    kind: str = "uniform"
    """uniform: as even a load as can be; random: independent choices; zipf: skewed ones."""
    zipf: float = 1.0
    """Under zipf, and no other, expert i is chosen in proportion to 1 / i^zipf."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownName("routing", self.kind, KINDS)
        if not 0 <= self.zipf <= 10:
            raise BadValue("zipf", self.zipf, "0 to 10")
        if not 0 <= self.seed < 2**63:
            raise BadValue("seed", self.seed, "0 to 2^63 - 1")


def route(point: Point, routing: RoutingPattern) -> ExpertIds:
    """Draw expert ids, shape (batch, top_k), distinct within a token; the same for one seed."""
    sizes = (point.batch, point.active_experts, point.top_k)
    rng = np.random.default_rng([routing.seed, *sizes])
    if routing.kind == "uniform":
        return _even(point, rng)
    skew = routing.zipf if routing.kind == "zipf" else 0.0
    chance = inclusion(point.active_experts, point.top_k, zipf=skew)
    drawn = [_systematic(chance, point.top_k, rng) for _ in range(point.batch)]
    return np.asarray(drawn, dtype=np.int32)


def touched(ids: ExpertIds) -> int:
    """Experts that have a token."""
    return len(np.unique(ids))


def router_weights(point: Point, routing: RoutingPattern) -> npt.NDArray[np.float32]:
    """Draw each token's weights of its experts, shape (batch, top_k), rows summing to 1."""
    rng = np.random.default_rng([routing.seed, point.batch, point.top_k])
    drawn = rng.gamma(2.0, size=(point.batch, point.top_k))
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True), dtype=np.float32)


def _even(point: Point, rng: np.random.Generator) -> ExpertIds:
    """Deal the experts out in turn: loads differ by at most one token."""
    turns = np.arange(point.pairs).reshape(point.batch, point.top_k) % point.active_experts
    return rng.permutation(point.active_experts)[turns].astype(np.int32)


def _systematic(
    chance: npt.NDArray[np.float64], top_k: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Choose `top_k` distinct experts, each with exactly its chance.

    Systematic sampling over a shuffled order (W. G. Madow, Annals of Mathematical Statistics 20,
    1949): a ruler of step 1 laid at random over the cumulated chances.
    """
    order = rng.permutation(len(chance))
    edges = np.cumsum(chance[order])
    marks = rng.random() + np.arange(top_k)
    # Rounding may leave the last edge a little below top_k.
    return order[np.minimum(np.searchsorted(edges, marks, side="right"), len(chance) - 1)]
