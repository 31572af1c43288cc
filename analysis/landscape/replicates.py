"""Replicates of one condition made one row: means of what was measured, and of how many runs."""

from collections.abc import Sequence
from shlex import quote

import numpy as np
import pandas as pd

from analysis.data.conditions import cells, condition_columns, levels
from analysis.data.read import is_empty
from analysis.data.source_location import source_of
from analysis.landscape.canonical import PLACE, in_canonical_order
from analysis.landscape.units import unit_of
from catalog.errors import BadFile
from orchestrator.results.condition import NAME, belongs
from orchestrator.results.quantities import role_of
from perfmodel.arrays import FloatArray, IntArray

REPLICATES = "replicates"
PARTLY_KNOWN = "partly_known"
"""Columns of a mean that not every run has: `p99_ttft_ms in 2 of 3`."""
_NUMBERS = ("replicate", "rep", "repeat", "repetition")
_MAYBE_NAMES = ("id", "case_id", "cell_id", "path")


def one_row_a_condition(
    runs: pd.DataFrame, *, pool: Sequence[str] = (), objectives: Sequence[str] = ()
) -> pd.DataFrame:
    """Average the runs of each condition; `replicates` says how many they were.

    Every number depends on the set of the runs alone, never on their order. A column that is
    no measurement keeps what the runs agree on.
    """
    if not pool and not _says_what_rows_are(runs, objectives):
        return runs
    settled = _settled(runs, pool, objectives)
    names = [*settled, *_open(runs, settled, pool, objectives)]
    if len(np.unique(cells(runs, names))) == len(runs):
        return runs
    _refuse_means(runs)
    runs = in_canonical_order(runs, names)
    place = cells(runs, names)
    order = np.argsort(place, kind="stable")
    runs, place = runs.iloc[order], place[order]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    kept = {*names, *pool}
    measured = [name for name in map(str, runs) if name not in kept and _is_measured(runs, name)]
    merged = {
        name: _means(runs[name].to_numpy(dtype=float), place, starts)
        if name in measured
        else runs[name].iloc[starts].to_numpy()
        if name in names
        else _agreed(runs[name], starts)
        for name in map(str, runs)
    }
    merged[REPLICATES] = np.diff(starts, append=len(runs))
    partly = _partly_known(runs[measured], starts)
    return pd.DataFrame({**merged, PARTLY_KNOWN: partly} if any(partly) else merged)


def undecided(
    runs: pd.DataFrame, *, pool: Sequence[str] = (), objectives: Sequence[str] = ()
) -> list[str]:
    """Columns that vary and of which nobody knows whether they were set or measured.

    `mem` with 0.5 and 0.75 may be a setting or a result: rows that differ in it are kept apart.
    Where the rows carry the hash of their condition or number their replicates, that settles it.
    """
    if not _candidates(runs, pool, objectives):
        return []
    return _open(runs, _settled(runs, pool, objectives), pool, objectives)


def _open(
    runs: pd.DataFrame, settled: Sequence[str], pool: Sequence[str], objectives: Sequence[str]
) -> list[str]:
    names = [name for name in _candidates(runs, pool, objectives) if name not in settled]
    return [] if names and _numbered(runs, settled) else names


def _candidates(runs: pd.DataFrame, pool: Sequence[str], objectives: Sequence[str]) -> list[str]:
    """Columns that vary, and whose names and kinds leave open what they are."""
    if _has(runs, NAME):
        return []
    left_out = {*pool, *_measured_objectives(objectives), *PLACE}
    return [
        name
        for name in map(str, runs)
        if name not in left_out and _is_open(runs, name) and runs[name].nunique(dropna=False) > 1
    ]


def undecided_notes(
    frame: pd.DataFrame, *, pool: Sequence[str] = (), objectives: Sequence[str] = ()
) -> tuple[str, ...]:
    """Say which rows may be replicates after all, and how to have them averaged."""
    names = undecided(frame, pool=pool, objectives=objectives)
    if not names or not _says_what_rows_are(frame, objectives):
        return ()
    if len(np.unique(cells(frame, _settled(frame, pool, objectives)))) == len(frame):
        return ()
    listed = "; ".join(f"{name} ({levels(frame, name)})" for name in names)
    flags = " ".join(f"--pool {quote(name)}" for name in names)
    return (f"rows that are alike but for {listed} are kept apart: {flags} averages them",)


def _settled(runs: pd.DataFrame, pool: Sequence[str], objectives: Sequence[str]) -> list[str]:
    names = condition_columns(runs, but=(*pool, *_measured_objectives(objectives)))
    if not pool and _has(runs, NAME):
        # A table cut to fewer columns still has the hash of what it was cut from.
        names.append(NAME)
    return names


def _measured_objectives(objectives: Sequence[str]) -> list[str]:
    """What is to be small or large is a result, unless it is known to be a setting."""
    return [name for name in objectives if role_of(name) != "condition"]


def _says_what_rows_are(runs: pd.DataFrame, objectives: Sequence[str]) -> bool:
    """Whether any column describes the rows; without one nothing shows two of them to be alike."""
    left_out = {*_measured_objectives(objectives), *PLACE}
    return any(
        name.lower() in (*_NUMBERS, *_MAYBE_NAMES, NAME)
        or belongs(name, runs[name].dropna().unique().tolist())
        for name in map(str, runs)
        if name not in left_out and _has(runs, name)
    )


def _is_open(runs: pd.DataFrame, name: str) -> bool:
    if name.lower() in _MAYBE_NAMES:
        return True
    is_number = bool(pd.api.types.is_numeric_dtype(runs[name]))
    return is_number and role_of(name) is None and unit_of(name) is None


def _numbered(runs: pd.DataFrame, names: Sequence[str]) -> bool:
    """Whether replicates carry numbers, each once in its condition."""
    numbers = [
        str(name) for name in runs if str(name).lower() in _NUMBERS and _has(runs, str(name))
    ]
    return bool(numbers) and len(np.unique(cells(runs, [*names, *numbers]))) == len(runs)


def _has(frame: pd.DataFrame, name: str) -> bool:
    return name in frame and not is_empty(frame[name])


def _is_measured(frame: pd.DataFrame, name: str) -> bool:
    return pd.api.types.is_float_dtype(frame[name]) and role_of(name) in ("measure", None)


def _refuse_means(runs: pd.DataFrame) -> None:
    """A mean of means would weigh three runs like one."""
    if REPLICATES in runs and (pd.to_numeric(runs[REPLICATES], errors="coerce") > 1).any():
        problem = f"rows of one condition are means already (column {REPLICATES!r}): give the runs"
        raise BadFile(source_of(runs), problem)


def _means(values: FloatArray, place: IntArray, starts: IntArray) -> FloatArray:
    """Mean of the known values from each start on; the same for any order of the rows.

    Sums are of distances from the smallest one, so that equal values have themselves as mean.
    """
    ordered = values[np.lexsort([values, place])]
    known = ~np.isnan(ordered)
    least = ordered[starts]
    count = np.add.reduceat(known.astype(np.int64), starts)
    away = np.where(known, ordered - np.repeat(least, np.diff(starts, append=len(values))), 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(least + np.add.reduceat(away, starts) / np.maximum(count, 1))


def _partly_known(measured: pd.DataFrame, starts: IntArray) -> list[str]:
    """What some runs from each start on lack, and how many have it."""
    runs = np.diff(starts, append=len(measured))
    found: list[list[str]] = [[] for _ in starts]
    for name in map(str, measured):
        known = np.add.reduceat(measured[name].notna().to_numpy(dtype=np.int64), starts)
        for row in np.flatnonzero((known > 0) & (known < runs)):
            found[row].append(f"{name} in {known[row]} of {runs[row]}")
    return ["; ".join(texts) for texts in found]


def _agreed(column: pd.Series, starts: IntArray) -> pd.Series:
    """What all runs from each start on say; empty where they differ."""
    codes = pd.factorize(column)[0]
    same = np.minimum.reduceat(codes, starts) == np.maximum.reduceat(codes, starts)
    empty = "" if pd.api.types.is_string_dtype(column) else None
    first = column.iloc[starts].reset_index(drop=True)
    return first.where(same, np.nan if pd.api.types.is_numeric_dtype(column) else empty)
