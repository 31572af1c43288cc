"""Fronts and knees of points whose every coordinate is to be small."""

import numpy as np

from perfmodel.arrays import BoolArray, FloatArray, IntArray

BLOCK = 4096
"""Pairs that are compared at once; fewer cost more calls, more cost more comparisons."""


def pareto_front(costs: FloatArray) -> BoolArray:
    """True where no other point is better in one coordinate and no worse in all; shape (n, k).

    Equal points are on the front together; a point with an unknown coordinate never is.
    """
    front = np.zeros(len(costs), dtype=bool)
    known = np.flatnonzero(~np.isnan(costs).any(axis=1))
    if not len(known):
        return front
    # Distinct points by their first coordinate, then the next: none is dominated by a later one.
    points, place = np.unique(costs[known], axis=0, return_inverse=True)
    found = np.zeros(len(points), dtype=bool)
    found[_front(points, np.arange(len(points)))] = True
    front[known] = found[place.reshape(-1)]
    return front


def _front(points: FloatArray, rows: IntArray) -> IntArray:
    """Rows of the front among some, in order, of distinct ordered points.

    Divide and conquer (Kung, Luccio and Preparata, «On Finding the Maxima of a Set of Vectors»,
    J. ACM 22, 1975): the earlier half's front is part of the whole one, and strikes out what it
    dominates of the later half's, for which the first coordinate need not be looked at again.
    """
    if len(rows) ** 2 <= BLOCK:
        few = points[rows]
        no_larger = (few[None, :, :] <= few[:, None, :]).all(axis=2)
        return rows[~np.tril(no_larger, -1).any(axis=1)]
    half = len(rows) // 2
    early, late = _front(points, rows[:half]), _front(points, rows[half:])
    return np.concatenate([early, late[~_covered(points[early, 1:], points[late, 1:])]])


def _covered(by: FloatArray, points: FloatArray) -> BoolArray:
    """True for each point that some row of `by` is no larger than in any coordinate."""
    if not len(by) or not len(points) or points.shape[1] == 0:
        return np.full(len(points), len(by) > 0)
    if points.shape[1] == 1:
        return np.asarray(by[:, 0].min() <= points[:, 0])
    if points.shape[1] == 2:
        return _covered_in_two(by, points)
    if len(by) * len(points) <= BLOCK:
        return np.asarray((by[:, None, :] <= points[None, :, :]).all(axis=2).any(axis=0))
    return _covered_by_halves(by, points)


def _covered_in_two(by: FloatArray, points: FloatArray) -> BoolArray:
    """With `by` in order of one coordinate, the least of the other so far decides."""
    by = by[np.argsort(by[:, 0])]
    least = np.concatenate([[np.inf], np.minimum.accumulate(by[:, 1])])
    reached = np.searchsorted(by[:, 0], points[:, 0], side="right")
    return np.asarray((reached > 0) & (least[reached] <= points[:, 1]))


def _covered_by_halves(by: FloatArray, points: FloatArray) -> BoolArray:
    """Split at the middle of the last coordinate; across the split it need not be looked at."""
    last = np.concatenate([by[:, -1], points[:, -1]])
    middle = np.partition(last, (len(last) - 1) // 2)[(len(last) - 1) // 2]
    if middle == last.max():
        # All that is above the middle value is gone: split below it, or all are equal.
        smaller = last[last < middle]
        if not len(smaller):
            return _covered(by[:, :-1], points[:, :-1])
        middle = smaller.max()
    low, under = by[:, -1] <= middle, points[:, -1] <= middle
    found = np.zeros(len(points), dtype=bool)
    found[under] = _covered(by[low], points[under])
    above = np.flatnonzero(~under)
    found[above] = _covered(by[low][:, :-1], points[above][:, :-1])
    left = above[~found[above]]
    found[left] = _covered(by[~low], points[left])
    return found


def scaled(costs: FloatArray, front: BoolArray) -> FloatArray:
    """Costs with the front's best at 0 and its worst at 1 in every coordinate."""
    best = costs[front].min(axis=0)
    span = costs[front].max(axis=0) - best
    result: FloatArray = (costs - best) / np.where(span > 0, span, 1.0)
    # A coordinate that is the same all over the front says nothing there.
    result[:, span == 0] = np.where(result[:, span == 0] > 0, 1.0, 0.0)
    return result
