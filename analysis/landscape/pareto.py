"""Fronts and knees of points whose every coordinate is to be small."""

import numpy as np
import numpy.typing as npt

from perfmodel.arrays import FloatArray

BoolArray = npt.NDArray[np.bool_]


def pareto_front(costs: FloatArray) -> BoolArray:
    """True where no other point is better in one coordinate and no worse in all; shape (n, k).

    Equal points are on the front together; a point with an unknown coordinate never is.
    """
    front = np.zeros(len(costs), dtype=bool)
    known = np.flatnonzero(~np.isnan(costs).any(axis=1))
    if not len(known):
        return front
    points, place = np.unique(costs[known], axis=0, return_inverse=True)
    found = _front_of_two(points) if points.shape[1] <= 2 else _front_of_many(points)
    front[known] = found[place.reshape(-1)]
    return front


def _front_of_two(points: FloatArray) -> BoolArray:
    """Distinct points in order of their first coordinate: the second must reach a new low."""
    last = points[:, -1] if points.shape[1] == 2 else points[:, 0]
    front = np.ones(len(points), dtype=bool)
    front[1:] = last[1:] < np.minimum.accumulate(last)[:-1]
    return front


def _front_of_many(points: FloatArray) -> BoolArray:
    """Each point that is left, in order, strikes out all it dominates."""
    left = np.arange(len(points))
    # The smallest sums first: they dominate most, and nothing that follows dominates them.
    left = left[np.argsort(_unit(points).sum(axis=1), kind="stable")]
    at = 0
    while at < len(left):
        current = points[left[at]]
        keep = (points[left] < current).any(axis=1)
        keep[at] = True
        at = int(keep[:at].sum()) + 1
        left = left[keep]
    front = np.zeros(len(points), dtype=bool)
    front[left] = True
    return front


def _unit(points: FloatArray) -> FloatArray:
    return scaled(points, np.ones(len(points), dtype=bool))


def scaled(costs: FloatArray, front: BoolArray) -> FloatArray:
    """Costs with the front's best at 0 and its worst at 1 in every coordinate."""
    best = costs[front].min(axis=0)
    span = costs[front].max(axis=0) - best
    result: FloatArray = (costs - best) / np.where(span > 0, span, 1.0)
    # A coordinate that is the same all over the front says nothing there.
    result[:, span == 0] = np.where(result[:, span == 0] > 0, 1.0, 0.0)
    return result
