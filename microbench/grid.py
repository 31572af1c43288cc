"""The sizes of a sweep: every combination of the values given."""

import itertools
import math
from collections.abc import Sequence

import msgspec

from catalog.errors import BadValue
from microbench.point import Point, dtype_of

MOST_POINTS = 5_000


class SweepGrid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
ON_A_GPU = SweepGrid(
    batch=(8, 16, 32, 64, 128),
    hidden=(2048,),
    intermediate=(512, 1024, 2048, 4096, 6144),
    experts=(128,),
    top_k=(8,),
    dtype=("bfloat16",),
)
# The same shape of a sweep at a size that two cores finish in about a minute.
ON_A_CPU = SweepGrid(
    batch=(8, 128),
    hidden=(512,),
    intermediate=(128, 256, 512),
    experts=(16,),
    top_k=(2,),
    dtype=("float32",),
)
QUICK = SweepGrid(
    batch=(8, 64), hidden=(256,), intermediate=(64, 128, 256), experts=(16,), top_k=(2,),
    dtype=("float32",),
)  # fmt: skip


def complete(grid: SweepGrid, default: SweepGrid) -> SweepGrid:
    """Fill what was not given so that it goes with what was."""
    given = {name: value for name in grid.__struct_fields__ if (value := getattr(grid, name))}
    merged = msgspec.structs.replace(default, **given)
    if grid.experts is None:
        least = max((*(merged.active_experts or ()), *(grid.top_k or ())), default=1)
        merged = msgspec.structs.replace(merged, experts=(max(least, *_of(merged.experts)),))
    if grid.top_k is None:
        fewest = min(merged.active_experts or _quarters(min(_of(merged.experts)), 1))
        fitting = tuple(min(k, fewest) for k in _of(merged.top_k))
        merged = msgspec.structs.replace(merged, top_k=fitting)
    return merged


def _quarters(experts: int, least: int) -> tuple[int, ...]:
    """A quarter, a half and all of the experts, but no fewer than a token needs."""
    return tuple(max(part, least) for part in (experts // 4, (experts + 1) // 2, experts))


def points(grid: SweepGrid) -> tuple[tuple[Point, ...], int]:
    """Combine the values; also return how many are left out for want of tokens.

    A batch of B tokens reaches at most B·k experts, so it cannot keep more of them active.
    """
    _check_count(grid)
    most = min(max(_of(grid.top_k)), max(_of(grid.experts)))
    dtypes = [dtype_of(name) for name in grid.dtype or ()]
    sizes = [
        Point(
            batch=batch, hidden=hidden, intermediate=width, experts=experts,
            active_experts=active, top_k=top_k, dtype=dtype,
        )
        for dtype, hidden, width, experts in itertools.product(
            dict.fromkeys(dtypes), _of(grid.hidden), _of(grid.intermediate), _of(grid.experts)
        )
        for active in _of(grid.active_experts or _quarters(experts, most))
        for top_k, batch in itertools.product(_of(grid.top_k), _of(grid.batch))
    ]  # fmt: skip
    reached = tuple(point for point in sizes if point.reachable)
    if not reached:
        least = min(sizes, key=lambda point: point.active_experts - point.pairs)
        allowed = f"up to {least.pairs}: {least.batch} tokens × top-{least.top_k} reach no more"
        raise BadValue("active experts", least.active_experts, allowed)
    return reached, len(sizes) - len(reached)


def _check_count(grid: SweepGrid) -> None:
    """Refuse before building what would take longer to list than anyone waits."""
    quarters = 3 if grid.active_experts is None else 1
    given = [len(value) for name in grid.__struct_fields__ if (value := getattr(grid, name))]
    count = math.prod(given) * quarters
    if count > MOST_POINTS:
        raise BadValue("combinations of sizes", f"{count:,}", f"at most {MOST_POINTS:,}")


def _of(values: Sequence[int] | None) -> list[int]:
    """Each value once, ascending."""
    return sorted(set(values or ()))
