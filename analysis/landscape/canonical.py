"""An order of rows that is theirs, whatever order they were read in."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.data.order import rank
from perfmodel.arrays import IntArray

PLACE = ("source_file", "source_row")
"""Where a row was read: says nothing of what it is."""


def in_canonical_order(frame: pd.DataFrame, first: Sequence[str] = ()) -> pd.DataFrame:
    """Sort rows by what they hold, some columns before the others; equal rows are alike."""
    names = dict.fromkeys([*first, *sorted(map(str, frame))])
    place = np.zeros(len(frame), dtype=np.int64)
    for name in (name for name in names if name not in PLACE):
        if place.max(initial=0) == len(frame) - 1:
            break
        own = _ranks(frame[name])
        place = np.unique(place * (int(own.max(initial=0)) + 1) + own, return_inverse=True)[1]
    return frame.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def _ranks(column: pd.Series) -> IntArray:
    """Numbers by size and text as the tables order it; what is missing comes last."""
    if pd.api.types.is_numeric_dtype(column):
        return np.unique(column.to_numpy(dtype=float), return_inverse=True)[1]
    codes, found = pd.factorize(column)
    levels = found.tolist()
    by_rank = sorted(range(len(levels)), key=lambda i: (rank(levels[i]), str(levels[i])))
    ranks = np.empty(len(levels) + 1, dtype=np.int64)
    ranks[by_rank] = np.arange(len(levels))
    ranks[-1] = len(levels)
    return np.asarray(ranks[codes])
