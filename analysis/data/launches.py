"""Which runs share a server launch: together they are one observation of what the launch fixes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.data.conditions import cells

UNKNOWN = -1


def launch_codes(frame: pd.DataFrame) -> np.ndarray:
    """A number for the launch of each row, `UNKNOWN` where the row does not say.

    Names are those of one table: equal ones of two files are two launches.
    """
    if "server_group" not in frame:
        return np.full(len(frame), UNKNOWN)
    names = [name for name in ("source_file", "server_group") if name in frame]
    said = frame["server_group"].fillna("").astype(str) != ""
    return np.where(said, cells(frame, names), UNKNOWN).astype(int)


def launches_known(frame: pd.DataFrame) -> bool:
    """Whether every row says which launch it comes from."""
    return bool(len(frame)) and bool((launch_codes(frame) != UNKNOWN).all())


def shared(codes: np.ndarray) -> np.ndarray:
    """Label the columns of a table of launch codes: those linked by a launch have one label.

    Rows are whatever a column holds (conditions, arms); `UNKNOWN` links nothing.
    """
    width = codes.shape[1]
    column = np.broadcast_to(np.arange(width), codes.shape)
    known = codes != UNKNOWN
    launch, place = np.unique(codes[known], return_inverse=True)
    # Where each launch is in one column alone, as in most tables, nothing is linked.
    if np.unique(place * width + column[known]).size == launch.size:
        return np.arange(width)
    # Slow to load, and hardly ever needed.
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    size = width + len(launch)
    links = coo_matrix((np.ones(place.size), (column[known], width + place)), shape=(size, size))
    labels: np.ndarray = connected_components(links, directed=False)[1][:width]
    return labels


def merged(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of the known values of the columns under each label: rows × distinct labels."""
    each = pd.unique(labels)
    if len(each) == len(labels):
        return np.where(np.isfinite(values), values, np.nan)  # the mean of one
    return np.stack([mean_of_known(values[:, labels == k], 1) for k in each], axis=1)


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over the finite values; NaN where there are none."""
    count = np.isfinite(values).sum(axis=axis)
    total = np.nansum(values, axis=axis)
    means: np.ndarray = np.full(total.shape, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def stacked(codes: Sequence[np.ndarray], known: np.ndarray) -> np.ndarray:
    """Codes of several arms below each other, without those of cells that are not used."""
    return np.vstack([np.where(known, each, UNKNOWN) for each in codes])
