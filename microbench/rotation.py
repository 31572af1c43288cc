"""How much weight memory a point walks over, so that no cache still holds what it reads.

Each timed step reads its experts elsewhere in one long row of experts (a pool): step i sees the
`experts` that begin at i · active. Before the walk comes back to the same place it has read several
times the last-level cache.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec

from catalog.errors import Infeasible
from catalog.units import GB, GIB, MIB
from microbench.device import DeviceInfo
from microbench.point import Point

TURNOVER = 4
"""Bytes read between two reads of the same weight, in last-level caches."""
FEWEST_PLACES, MOST_PLACES = 2, 1024
USABLE_ON_GPU, USABLE_ON_CPU = 0.9, 0.5
"""Shares of what is free: a host's memory is everybody's, and what it lacks ends another's work."""
CEILING_BYTES_ON_GPU = GIB
LEAST_CEILING_BYTES = 64 * MIB


class WeightSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The points that share one pool of experts."""

    hidden: int
    intermediate: int
    experts: int
    dtype: str
    points: tuple[int, ...]
    """Positions in the sweep."""

    def __str__(self) -> str:
        return (
            f"{self.experts} experts of hidden {self.hidden}, width {self.intermediate}, "
            f"{self.dtype}"
        )


def places(point: Point, touched: int, cache_bytes: int) -> int:
    """How many places a point's steps go round."""
    return min(MOST_PLACES, max(FEWEST_PLACES, _wanted(point, touched, cache_bytes)))


def stays_cached(point: Point, touched: int, cache_bytes: int) -> bool:
    """True where a step reads so little that even the most places fit into the caches."""
    return _wanted(point, touched, cache_bytes) > MOST_PLACES


def _wanted(point: Point, touched: int, cache_bytes: int) -> int:
    return math.ceil(TURNOVER * cache_bytes / point.weight_bytes(touched))


def pool_experts(points: Iterable[tuple[Point, int]], cache_bytes: int) -> int:
    """Experts in the pool of points with their touched experts."""
    return max(
        point.experts + (places(point, touched, cache_bytes) - 1) * point.active_experts
        for point, touched in points
    )


def group(points: Sequence[Point]) -> list[WeightSet]:
    """Put together what can use the same weights, in the order given."""

    def key(position: int) -> tuple[int, int, int, str]:
        point = points[position]
        return point.hidden, point.intermediate, point.experts, point.dtype

    listed = sorted(range(len(points)), key=key)
    return [
        WeightSet(
            hidden=hidden, intermediate=width, experts=experts, dtype=dtype, points=tuple(own)
        )
        for (hidden, width, experts, dtype), own in groupby(listed, key=key)
    ]


def ceiling_bytes(device: DeviceInfo) -> int:
    """Size of each of the two buffers that the bandwidth ceilings are measured with."""
    if device.on_gpu:
        return CEILING_BYTES_ON_GPU
    return max(LEAST_CEILING_BYTES, TURNOVER * device.cache_bytes // 2)


def needs(
    points: Sequence[Point], touched: Sequence[int], device: DeviceInfo, *, packed: bool
) -> list[tuple[WeightSet, int]]:
    """Bytes that each set of weights takes, with the activations of its points.

    `packed` counts a second pool: one backend keeps its weights in an order of its own.
    """
    found = []
    for weights in group(points):
        members = [(points[i], touched[i]) for i in weights.points]
        pool = pool_experts(members, device.cache_bytes) * members[0][0].expert_bytes
        activations = max(_activation_bytes(point) for point, _ in members)
        found.append((weights, pool * (2 if packed else 1) + activations))
    return found


def usable(device: DeviceInfo) -> float:
    """Share of the free memory that all processes together may take."""
    return USABLE_ON_GPU if device.on_gpu else USABLE_ON_CPU


def most_held(
    together: Sequence[Sequence[WeightSet]],
    needed: Sequence[tuple[WeightSet, int]],
    device: DeviceInfo,
) -> int:
    """Bytes that one process holds at most: its largest share of the sets, and two buffers."""
    of = {weights.points: need for weights, need in needed}
    largest = max(sum(of[weights.points] for weights in share) for share in together)
    return largest + 2 * ceiling_bytes(device)


def share_memory(
    needed: Sequence[tuple[WeightSet, int]], device: DeviceInfo, processes: int
) -> tuple[tuple[WeightSet, ...], ...]:
    """Put as many sets of weights into memory together as fit; refuse one that does not alone.

    Every process holds its own.
    """
    room = device.free_bytes * usable(device) / processes - 2 * ceiling_bytes(device)
    shares: list[list[WeightSet]] = []
    left = 0.0
    for weights, need in needed:
        if need > room:
            raise Infeasible(
                f"{weights}: {(need + 2 * ceiling_bytes(device)) / GB:.1f} GB of weights and "
                f"buffers in each of {processes} processes do not fit: "
                f"{device.free_bytes / GB:.1f} GB is free on {device.device}, of which "
                f"{usable(device):.0%} is used; take fewer --experts or --processes, a smaller "
                "--intermediate or --hidden, or a --dtype of 16 bits"
            )
        if need > left:
            shares.append([])
            left = room
        shares[-1].append(weights)
        left -= need
    return tuple(tuple(share) for share in shares)


def _activation_bytes(point: Point) -> int:
    """Generously: inputs, products and outputs of every pair in float32, several at a time.

    A batched product pads every active expert's rows to the busiest one's, at most the batch.
    """
    rows = max(4 * point.pairs, point.active_experts * point.batch)
    return 4 * rows * (2 * point.hidden + 3 * point.intermediate)
