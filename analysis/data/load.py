"""The load of a run on one axis: requests in flight (closed loop) or requests a second (open)."""

import numpy as np
import pandas as pd

from analysis.data.source_location import source_of
from catalog.errors import BadFile, BadValue

CLOSED, OPEN = "concurrency", "request rate"
AXIS = {CLOSED: "Concurrency (requests in flight)", OPEN: "Request rate (requests/s)"}
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


def one_kind(frame: pd.DataFrame) -> str:
    """The kind of load of all rows; closed and open loops do not share an axis."""
    kinds = sorted(set(with_load(frame)["load_kind"]))
    if len(kinds) > 1:
        way = "runs of one kind: give the closed-loop and the open-loop results apart"
        raise BadValue("load", " and ".join(kinds), way, where=source_of(frame))
    return kinds[0] if kinds else CLOSED
