"""The load of a run on one axis: requests in flight (closed loop) or requests a second (open)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.data.source_location import source_of
from catalog.errors import BadFile, BadValue

CLOSED, OPEN = "concurrency", "request rate"
AXIS = {CLOSED: "Concurrency (requests in flight)", OPEN: "Request rate (requests/s)"}
IN_FLIGHT = "effective_concurrency"
IN_FLIGHT_AXIS = "Requests in flight (mean)"
COLUMN = {CLOSED: "max_concurrency", OPEN: "request_rate"}


def with_load(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `load` and `load_kind`: a rate makes an open loop, capped or not, and is its load."""
    if "load" in frame and "load_kind" in frame:
        return frame
    nothing = pd.Series(np.nan, index=frame.index)
    rate = frame.get("request_rate", nothing)
    opened = rate.notna()
    load = rate.where(opened, frame.get("max_concurrency", nothing))
    if load.isna().all() and len(frame):
        problem = "columns 'max_concurrency' and 'request_rate' are missing or empty: no load"
        raise BadFile(source_of(frame), problem)
    return frame.assign(load=load, load_kind=np.where(opened, OPEN, CLOSED))


def placed(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The runs that have a place on an axis of loads, and how many have none."""
    loaded = with_load(frame)
    known = loaded["load"].notna()
    left = f"{int((~known).sum())} runs name no load and are left out: its axis has no place for it"
    return loaded[known], () if known.all() else (left,)


def in_flight(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean requests in flight of each cell, in `IN_FLIGHT`; NaN where a run of it does not say.

    It is Σ latency / duration (Little's law): what the server really had to do at a time, which a
    run with few prompts, or with a long end, keeps below the concurrency that was asked for.
    """
    known = frame[IN_FLIGHT] if IN_FLIGHT in frame else pd.Series(np.nan, index=frame.index)
    values = frame[list(by)].assign(**{IN_FLIGHT: pd.to_numeric(known, errors="coerce")})
    cells = values.groupby(list(by), dropna=False)[IN_FLIGHT]
    # A mean of some of a cell's runs would be told of all of them.
    return cells.mean().where(cells.count() == cells.size()).reset_index()


def one_kind(frame: pd.DataFrame) -> str:
    """The kind of load of all rows; closed and open loops do not share an axis."""
    kinds = sorted(set(with_load(frame)["load_kind"]))
    if len(kinds) > 1:
        way = "runs of one kind: give the closed-loop and the open-loop results apart"
        raise BadValue("load", " and ".join(kinds), way, where=source_of(frame))
    return kinds[0] if kinds else CLOSED
