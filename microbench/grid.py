"""The sizes of a sweep: every combination of the values given."""

import itertools
from collections.abc import Sequence

import msgspec

from catalog.errors import BadValue
from microbench.point import Point, dtype_of

MOST_POINTS = 5_000


class Grid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values of each size; None takes the device's default."""

    batch: tuple[int, ...] | None = None
    hidden: tuple[int, ...] | None = None
    intermediate: tuple[int, ...] | None = None
    experts: tuple[int, ...] | None = None
    active_experts: tuple[int, ...] | None = None
    """None is a quarter, a half and all of the experts."""
    top_k: tuple[int, ...] | None = None
    dtype: tuple[str, ...] | None = None


# The paper's sweep (its section 3), with the expert count that its two printed latencies imply.
ON_A_GPU = Grid(
    batch=(8, 16, 32, 64, 128),
    hidden=(2048,),
    intermediate=(512, 1024, 2048, 4096, 6144),
    experts=(128,),
    top_k=(8,),
    dtype=("bfloat16",),
)
# The same shape of a sweep at a size that two cores finish in about a minute.
ON_A_CPU = Grid(
    batch=(8, 32, 128),
    hidden=(512,),
    intermediate=(128, 256, 512),
    experts=(16,),
    top_k=(2,),
    dtype=("float32",),
)
QUICK = Grid(
    batch=(8, 64), hidden=(256,), intermediate=(128, 256, 512), experts=(16,), top_k=(2,),
    dtype=("float32",),
)  # fmt: skip


def complete(grid: Grid, default: Grid) -> Grid:
    """Fill what was not given; a default top-k is no more than the fewest active experts."""
    given = {name: value for name in grid.__struct_fields__ if (value := getattr(grid, name))}
    merged = msgspec.structs.replace(default, **given)
    if grid.top_k is None and merged.top_k:
        fewest = min(merged.active_experts or [quarter(min(merged.experts or (1,)))])
        smaller = tuple(min(k, fewest) for k in merged.top_k)
        merged = msgspec.structs.replace(merged, top_k=smaller)
    return merged


def quarter(experts: int) -> int:
    return max(1, experts // 4)


def points(grid: Grid) -> tuple[tuple[Point, ...], int]:
    """Combine the values; also return how many are left out for want of tokens.

    A batch of B tokens reaches at most B·k experts, so it cannot keep more of them active.
    """
    dtypes = [dtype_of(name) for name in grid.dtype or ()]
    sizes = [
        Point(
            batch=batch, hidden=hidden, intermediate=width, experts=experts,
            active_experts=active, top_k=top_k, dtype=dtype,
        )
        for dtype, hidden, width, experts in itertools.product(
            dict.fromkeys(dtypes), _of(grid.hidden), _of(grid.intermediate), _of(grid.experts)
        )
        for active in _of(grid.active_experts or (quarter(experts), (experts + 1) // 2, experts))
        for top_k, batch in itertools.product(_of(grid.top_k), _of(grid.batch))
    ]  # fmt: skip
    if len(sizes) > MOST_POINTS:
        raise BadValue("combinations of sizes", f"{len(sizes):,}", f"at most {MOST_POINTS:,}")
    reached = tuple(point for point in sizes if point.reachable)
    if not reached:
        least = min(sizes, key=lambda point: point.active_experts - point.pairs)
        allowed = f"up to {least.pairs}: {least.batch} tokens × top-{least.top_k} reach no more"
        raise BadValue("active experts", least.active_experts, allowed)
    return reached, len(sizes) - len(reached)


def _of(values: Sequence[int] | None) -> list[int]:
    """Each value once, ascending."""
    return sorted(set(values or ()))
