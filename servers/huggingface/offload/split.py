"""One arena divided among the layers so that the fewest experts have to be fetched."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Misses = NDArray[np.int64]
"""(E + 1,): fetches of a layer whose cache has 0, 1, … E slots."""


def misses_by_size(uses: Iterable[int], experts: int) -> Misses:
    """Count what an LRU cache of each size misses of a layer's uses, one expert after the other.

    By stack distances: a use hits every cache larger than the number of other experts used since
    (Mattson et al., «Evaluation techniques for storage hierarchies», IBM Systems Journal 9, 1970).
    """
    stack: list[int] = []
    hits, total = np.zeros(experts + 1, dtype=np.int64), 0
    for expert in uses:
        total += 1
        if expert in stack:
            depth = stack.index(expert)
            hits[depth + 1] += 1
            del stack[depth]
        stack.insert(0, expert)
    return total - hits.cumsum()


def split_slots(misses: Sequence[Misses], slots: int) -> list[int]:
    """Return slots for each layer, at least one, of the least misses in all; `slots` together.

    AdapMoE's knapsack (arXiv 2408.10284, section 5) by dynamic programming: the least of i layers
    with j slots is F(i, j) = min over k of F(i − 1, j − k) + misses_i(k). Where AdapMoE takes
    misses from formulas for experts that are all alike, these were counted.
    """
    least = np.full(slots + 1, np.inf)
    least[0] = 0.0
    choices: list[NDArray[np.int64]] = []
    for each in misses:
        layer = np.full((len(each) - 1, slots + 1), np.inf)
        for size in range(1, min(len(each) - 1, slots) + 1):
            layer[size - 1, size:] = least[: slots + 1 - size] + each[size]
        choices.append(layer.argmin(axis=0) + 1)
        least = layer.min(axis=0)
    sizes: list[int] = []
    left = slots
    for chosen in reversed(choices):
        sizes.append(int(chosen[left]))
        left -= sizes[-1]
    return sizes[::-1]
