"""What an analysis uses of a frame: claimed runs of one provenance, with the rest counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import TypedDict

import numpy as np
import pandas as pd

from analysis.data.doubts import doubt_notes
from analysis.data.frame import require
from analysis.data.order import shown
from analysis.data.reached import asked_notes, reached
from analysis.data.read import is_empty
from analysis.data.source_location import refuse_row, source_of
from catalog.errors import BadFile, BadValue

WAY = "fill it in, give the run another verdict, or take others with --where COLUMN=VALUE"


class RowSelection(TypedDict, total=False):
    """Which rows an analysis rests on, in the keywords of `select`."""

    provenance: str | None
    every_verdict: bool
    as_asked: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows an analysis rests on and what was left out."""

    frame: pd.DataFrame
    provenance: str
    """What the numbers are; `unstated` when the table does not say."""
    excluded: tuple[tuple[str, int], ...]
    """Reason and number of runs left out."""
    told: tuple[str, ...] = ()
    """What to know of requests that failed and of loads that were not reached."""

    @property
    def notes(self) -> tuple[str, ...]:
        left_out = [f"{count} runs left out: {reason}" for reason, count in self.excluded]
        warnings = {
            "simulated": ["these numbers are simulated, not measured"],
            "unstated": ["the table does not say whether its numbers are measured or simulated"],
        }
        return (*warnings.get(self.provenance, []), *left_out, *self.told)


def select(
    frame: pd.DataFrame,
    *,
    response: str,
    factors: Sequence[str],
    provenance: str | None = None,
    every_verdict: bool = False,
    as_asked: bool = False,
) -> Selection:
    """Keep the valid runs of one provenance and check their cells.

    Measured and simulated rows are never pooled: with several provenances one must be named.
    Runs that are not valid are left out and counted, unless `every_verdict`. Loads that were not
    reached are those that were in flight, unless `as_asked`.
    """
    require(frame, [*factors, response])
    kept, name = one_provenance(frame, provenance)
    kept, excluded = (kept, ()) if every_verdict else _valid(kept)
    _check_cells(kept, response, factors)
    doubts = doubt_notes(kept, response)
    kept, loads = (kept, asked_notes(kept)) if as_asked else reached(kept)
    return Selection(kept, name, excluded, (*doubts, *loads))


def one_provenance(frame: pd.DataFrame, wanted: str | None) -> tuple[pd.DataFrame, str]:
    """Return the rows of one provenance and its name; refuse a silent mixture."""
    if "provenance" not in frame:
        return frame, wanted or "unstated"
    found = frame["provenance"].astype(str).replace("", "unstated")
    names = sorted(found.unique())
    if wanted is None and len(names) == 1:
        return frame, names[0]
    if wanted is None:
        counts = ", ".join(f"{(found == name).sum()} {name}" for name in names)
        way = "one of them, with --provenance; they are never pooled"
        raise BadValue("provenance", counts, way, where=source_of(frame))
    if wanted not in names:
        raise BadValue("provenance", wanted, " or ".join(names), where=source_of(frame))
    return frame[found == wanted], wanted


def _valid(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[tuple[str, int], ...]]:
    if "verdict" not in frame:
        return frame, ()
    verdict = frame["verdict"].astype(str)
    # A table that judges no run (an import, a table typed by hand) says nothing against its rows.
    usable = verdict.isin(["valid", ""])
    reasons = frame["verdict_reasons"].astype(str) if "verdict_reasons" in frame else verdict
    why = verdict + (": " + reasons).where((reasons != "") & (reasons != verdict), "")
    counted = why[~usable].value_counts()
    if not usable.any():
        raise BadFile(source_of(frame), f"no valid run among {len(frame)} ({counted.index[0]})")
    return frame[usable], tuple((str(reason), int(n)) for reason, n in counted.items())


def _check_cells(frame: pd.DataFrame, response: str, factors: Sequence[str]) -> None:
    if is_empty(frame[response]):
        raise BadFile(source_of(frame), f"column {response!r} is empty: no row has a value")
    if not pd.api.types.is_numeric_dtype(frame[response]):
        raise BadFile(source_of(frame), f"column {response!r} holds text, not numbers")
    values = frame[response].to_numpy(dtype=float)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        refuse_row(frame, row, response, f"empty in a run that counts as valid; {WAY}")
    for name in factors:
        absent = (frame[name].isna() | (frame[name].astype(str) == "")).to_numpy()
        if absent.any():
            way = f"--constant {quote(f'{name}=VALUE')} says it for all" if absent.all() else WAY
            refuse_row(frame, int(np.flatnonzero(absent)[0]), name, f"empty; {way}")


def need_levels(frame: pd.DataFrame, factor: str, *, hint: str = "") -> None:
    """Raise BadFile unless a factor has at least two levels."""
    levels = frame[factor].unique()
    if len(levels) < 2:
        only = shown(levels[0]) if len(levels) else "none"
        problem = f"column {factor!r} has one level ({only}): nothing to compare it with{hint}"
        raise BadFile(source_of(frame), problem)


def log_of(frame: pd.DataFrame, response: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Natural logarithm of a response; refuses values a logarithm does not have."""
    values = frame[response].to_numpy(dtype=float)
    if (values <= 0).any():
        row = int(np.flatnonzero(values <= 0)[0])
        refuse_row(frame, row, response, f"{values[row]:g} has no logarithm")
    logs: np.ndarray[tuple[int], np.dtype[np.float64]] = np.log(values)
    return logs
