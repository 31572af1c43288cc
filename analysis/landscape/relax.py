"""What would have to give when nothing meets every limit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.landscape.constraint import Constraint
from perfmodel.arrays import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class Relaxation:
    """Limits to loosen and the row that then is feasible."""

    row: int
    limits: tuple[str, ...]
    excess: float
    """The largest change, as a share of its limit."""


def relaxations(
    values: dict[str, FloatArray], constraints: Sequence[Constraint], open_rows: BoolArray
) -> tuple[Relaxation, ...]:
    """Each limit that alone can give, least change first; else the least joint change.

    Only rows whose values are all known count: an unknown one might break any limit.
    """
    if not constraints:
        return ()
    excess = np.column_stack([limit.excess(values[limit.column]) for limit in constraints])
    known = open_rows & np.isfinite(excess).all(axis=1)
    if not known.any():
        return ()
    excess = np.where(known[:, None], excess, np.inf)
    alone = []
    for number in range(len(constraints)):
        others = np.delete(excess, number, axis=1)
        candidates = np.where((others == 0).all(axis=1), excess[:, number], np.inf)
        row = int(candidates.argmin())
        if np.isfinite(candidates[row]):
            alone.append(_relaxation(row, values, constraints, excess[row]))
    nearest = int(excess.max(axis=1).argmin())
    found = alone or [_relaxation(nearest, values, constraints, excess[nearest])]
    return tuple(sorted(found, key=lambda each: each.excess))


def _relaxation(
    row: int,
    values: dict[str, FloatArray],
    constraints: Sequence[Constraint],
    excess: FloatArray,
) -> Relaxation:
    limits = tuple(
        f"{limit.relaxed_to(float(values[limit.column][row]))} instead of {limit.text}"
        for limit, beyond in zip(constraints, excess, strict=True)
        if beyond > 0
    )
    return Relaxation(row, limits, float(excess.max()))
