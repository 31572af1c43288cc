"""Time of collective operations in the α–β model: α seconds a message, 1/β seconds a byte.

`size_bytes` is what one rank holds in full: the tensor to reduce, the tensor to gather into or to
scatter from, or all that one rank sends (all-to-all, its own part included). Ring forms: Thakur,
Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH" (2005),
Patarasuk and Yuan (2009). One rank communicates nothing, and takes no time.
"""

from dataclasses import dataclass
from typing import Protocol

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


def node_all_reduce(size_bytes: Real, ranks: Real, link: AlphaBeta, *, flat_s: float) -> Real:
    """flat_s + 2 (p − 1) n / (p β), as serving engines do it within a node; 0 for one rank.

    Every rank reads its peers' buffers at once, in one shot or in two: no chain of messages, so a
    small tensor takes the same time over any number of ranks.
    """
    sent = 2 * (ranks - 1) / ranks * size_bytes / link.bandwidth_bytes_per_s
    return np.minimum(ranks - 1, 1) * flat_s + sent


def node_then_network_all_reduce(
    size_bytes: Real,
    ranks: Real,
    links: tuple[AlphaBeta, AlphaBeta],
    *,
    within: Real,
    flat_s: float,
) -> Real:
    """Reduce over `within` ranks of a node by the first link, then between nodes by the second."""
    inside, between = links
    shared = all_reduce(size_bytes / within, ranks / within, between)
    return node_all_reduce(size_bytes, within, inside, flat_s=flat_s) + shared


def all_gather(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """(p − 1) (α + n / (p β)), n the gathered tensor."""
    return _ring(size_bytes, ranks, link)


def reduce_scatter(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """(p − 1) (α + n / (p β)), n the tensor before it is scattered."""
    return _ring(size_bytes, ranks, link)


def all_to_all(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """(p − 1) (α + n / (p β)), n all that one rank sends: pairwise exchange."""
    return _ring(size_bytes, ranks, link)


def gather_by_nodes(
    size_bytes: Real, ranks: Real, links: tuple[AlphaBeta, AlphaBeta], *, within: Real
) -> Real:
    """Gather between nodes, then over the `within` ranks of each; a reduce-scatter is its mirror.

    A rank fetches over the network what its node lacks, divided among the node's ranks:
    (N − 1) (α' + n / (w N β')) + (w − 1) (α + n / (w β)), N = p / w nodes.
    """
    inside, between = links
    return _ring(size_bytes / within, ranks / within, between) + _ring(size_bytes, within, inside)


def direct_all_to_all(
    size_bytes: Real,
    ranks: Real,
    links: tuple[AlphaBeta, AlphaBeta],
    *,
    within: Real,
    start_s: float,
) -> Real:
    """start_s + max((w − 1) n / (p β), (p − w) n / (p β')), n all that one rank sends; 0 for one.

    One-sided writes to all ranks at once, to those of the own node by its own link meanwhile, as
    DeepEP's low-latency kernels do. With n = 128 · 8 · 7168 bytes dispatched and twice that
    combined, 40 µs and 47 GB/s a rank between nodes give the published times over 16 to 128 ranks
    within 10 % (github.com/deepseek-ai/DeepEP, docs/legacy.md: 400 Gb/s a GPU).
    """
    inside, between = links
    near_s = (within - 1) * size_bytes / ranks / inside.bandwidth_bytes_per_s
    far_s = (ranks - within) * size_bytes / ranks / between.bandwidth_bytes_per_s
    return np.minimum(ranks - 1, 1) * start_s + np.maximum(near_s, far_s)


def point_to_point(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    """α + n / β."""
    return np.minimum(ranks - 1, 1) * (link.latency_s + size_bytes / link.bandwidth_bytes_per_s)


def fabric(gpu: Gpu, *, span: int) -> Link:
    """Choose the link of a group that `span` consecutive GPUs hold: its slowest hop counts."""
    return gpu.link(span)


def fabrics(gpu: Gpu, *, span: FloatArray) -> Wires:
    """The same choice for many groups at once."""
    spans, where = np.unique(span, return_inverse=True)
    links = [gpu.link(int(each)) for each in spans]
    latency_s = np.array([link.latency_s for link in links])
    bandwidth_bytes_per_s = np.array([link.bandwidth_bytes_per_s for link in links])
    return Wires(
        latency_s=latency_s[where].reshape(span.shape),
        bandwidth_bytes_per_s=bandwidth_bytes_per_s[where].reshape(span.shape),
    )


def exposed(communication_s: Real, window_s: Real, *, overlap: float) -> Real:
    """Return what is left of a communication once a share of its phase's window has hidden some."""
    return np.maximum(0.0, communication_s - overlap * window_s)


def _ring(size_bytes: Real, ranks: Real, link: AlphaBeta) -> Real:
    per_hop = link.latency_s + size_bytes / (ranks * link.bandwidth_bytes_per_s)
    return (ranks - 1) * per_hop
