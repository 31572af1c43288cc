"""Time of collective operations in the α–β model: α seconds a message, 1/β seconds a byte.

`size_bytes` is what one rank holds in full: the tensor to reduce, the tensor to gather into or to
scatter from, or all that one rank sends (all-to-all, its own part included). Ring forms: Thakur,
Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH" (2005),
Patarasuk and Yuan (2009). One rank communicates nothing, and takes no time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from catalog.hardware import Gpu, Link
from perfmodel.arrays import FloatArray, Real


class AlphaBeta(Protocol):
    """What a collective needs of a link: α and β, numbers or arrays of them."""

    @property
    def latency_s(self) -> Real: ...
    @property
    def bandwidth_bytes_per_s(self) -> Real: ...


@dataclass(frozen=True, slots=True)
class Wires:
    """The links of many groups at once."""

    latency_s: Real
    bandwidth_bytes_per_s: Real


Collective = Callable[[Real, Real, AlphaBeta], Real]
Kind = Literal[
    "ring_all_reduce",
    "tree_all_reduce",
    "all_gather",
    "reduce_scatter",
    "all_to_all",
    "point_to_point",
]


def ring_all_reduce(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """2 (p − 1) (α + n / (p β)): a reduce-scatter and an all-gather around a ring."""
    return 2 * _ring(size_bytes, ranks, link)


def tree_all_reduce(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """2 ⌈log2 p⌉ (α + n / β): reduce up a binary tree, broadcast down; better for small n."""
    return 2 * np.ceil(np.log2(ranks)) * point_to_point(size_bytes, 2, link)


def all_reduce(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """The faster of ring and tree, as a tuned library chooses by size."""
    ring = ring_all_reduce(size_bytes, ranks, link)
    return np.minimum(ring, tree_all_reduce(size_bytes, ranks, link))


def all_gather(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """(p − 1) (α + n / (p β)), n the gathered tensor."""
    return _ring(size_bytes, ranks, link)


def reduce_scatter(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """(p − 1) (α + n / (p β)), n the tensor before it is scattered."""
    return _ring(size_bytes, ranks, link)


def all_to_all(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """(p − 1) (α + n / (p β)), n all that one rank sends: pairwise exchange."""
    return _ring(size_bytes, ranks, link)


def point_to_point(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """α + n / β."""
    return np.minimum(ranks - 1, 1) * (link.latency_s + size_bytes / link.bandwidth_bytes_per_s)


def fabric(gpu: Gpu, *, span: int) -> Link:
    """Choose the link of a group that `span` consecutive GPUs hold: its slowest hop counts."""
    return gpu.intra_node if span <= gpu.per_node else gpu.inter_node


def fabrics(gpu: Gpu, *, span: FloatArray) -> Wires:
    """The same choice for many groups at once."""
    inside, between = span <= gpu.per_node, (gpu.intra_node, gpu.inter_node)
    return Wires(
        latency_s=np.where(inside, *(link.latency_s for link in between)),
        bandwidth_bytes_per_s=np.where(inside, *(link.bandwidth_bytes_per_s for link in between)),
    )


def exposed(communication_s: Real, window_s: Real, *, overlap: float) -> Real:
    """Return what is left of a communication once a share of its phase's window has hidden some."""
    return np.maximum(0.0, communication_s - overlap * window_s)


def _ring(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    per_hop = link.latency_s + size_bytes / (ranks * link.bandwidth_bytes_per_s)
    return (ranks - 1) * per_hop


COLLECTIVES: dict[Kind, Collective] = {
    "ring_all_reduce": ring_all_reduce,
    "tree_all_reduce": tree_all_reduce,
    "all_gather": all_gather,
    "reduce_scatter": reduce_scatter,
    "all_to_all": all_to_all,
    "point_to_point": point_to_point,
}
