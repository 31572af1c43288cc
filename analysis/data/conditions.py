"""Which columns keep rows apart: what no analysis averages or pairs over unasked."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from shlex import quote

import numpy as np
import pandas as pd

from analysis.data.order import ordered, shown
from analysis.data.source_location import source_of
from catalog.errors import BadFile, UnknownName
from orchestrator.results.condition import (
    LABELS,
    NAME,
    NOT_ASKED,
    canonical,
    condition_names,
    labels_told,
    word_of,
)
from orchestrator.results.quantities import CONDITION, role_of
from orchestrator.results.record import MEASURED, SIMULATED, ColumnValue

LOAD = ("max_concurrency", "request_rate", "burstiness")
AXES = ("model", "strategy", "workload", *LOAD)
"""What every study varies on purpose, and every analysis shows or averages by its own rule."""
LAYOUT = ("tp", "dp", "pp", "ep")
STARTED_WITH = ("server_args", "server_env", "technique", "output_ends")
"""What a run that started its own server says by saying nothing."""
NEVER_AVERAGED = ("output_ends",)
"""Kept apart even where an axis settles it: workloads are averaged over, natural and forced ends
of answers are not."""
MOST_SHOWN = 4
SEPARATOR = " · "


@dataclass(frozen=True, slots=True)
class Pooling:
    """How a user wants rows of different conditions to be taken."""

    by: tuple[str, ...] = ()
    """Columns that are kept apart whatever they hold."""
    pool: tuple[str, ...] = ()
    """Columns whose differences are to be overlooked."""

    def check(self, frame: pd.DataFrame) -> None:
        for name in (*self.by, *self.pool):
            if name not in frame:
                raise UnknownName("column", name, [str(column) for column in frame])


NOTHING_SAID = Pooling()


def condition_columns(frame: pd.DataFrame, *, but: Iterable[str] = ()) -> list[str]:
    """Columns that are part of the rows' condition and not the same in all of them.

    Known ones first, in their order, then labels; the name of a file last, since others say more.
    """
    left_out = set(but)
    told = labels_told(frame[LABELS].unique()) if LABELS in frame else frozenset()
    own = [n for n in map(str, frame) if n not in left_out and not _measured(frame, n, told)]
    varying = [name for name in own if _varies(frame[name])]
    names = condition_names({name: _values(frame[name]) for name in varying}, labels=told)
    places = {name: place for place, name in enumerate(CONDITION)}
    ranked = sorted(names, key=lambda n: (n == "source", places.get(n, len(places))))
    return [name for name in ranked if _varies(codes(frame, name))]


def _varies(column: pd.Series) -> bool:
    return bool(column.nunique(dropna=False) > 1)


def _measured(frame: pd.DataFrame, name: str, labels: Collection[str]) -> bool:
    """Settled by name and type, without a look at every value."""
    if role_of(name) == "record" or name in labels:
        return role_of(name) == "record"
    return role_of(name) == "measure" and bool(pd.api.types.is_numeric_dtype(frame[name]))


def _values(column: pd.Series) -> Iterator[ColumnValue]:
    """Yield the values of a column: most names are settled without a look at any."""
    yield from column.astype(object).where(column.notna(), None).tolist()


def codes(frame: pd.DataFrame, name: str) -> pd.Series:
    """Numbers of a column's levels, spelled one way; -1 where it says nothing."""
    column = frame[name]
    if name == "num_prompts" and NOT_ASKED in frame:
        column = column.where(frame[NOT_ASKED].astype(str).isin(["", "nan", "None"]))
    own, levels = pd.factorize(column)
    spelled = np.array([canonical(name, level) for level in levels], dtype=object)
    of_level = pd.factorize(spelled)[0] if spelled.size else np.empty(0, dtype=np.int64)
    # A place after the last level: -1, where nothing is said, takes it.
    return pd.Series(np.append(of_level, -1)[own], index=frame.index, name=name)


def cells(frame: pd.DataFrame, names: Iterable[str]) -> np.ndarray:
    """Number of the cell that each row is in; rows that agree in all columns share one."""
    made = np.zeros(len(frame), dtype=np.int64)
    for name in names:
        if name in frame:
            own = codes(frame, name).to_numpy()
            made = np.unique(made * (int(own.max(initial=0)) + 2) + own + 1, return_inverse=True)[1]
    return made


def mixed_columns(
    frame: pd.DataFrame, within: Sequence[str], *, but: Iterable[str] = ()
) -> tuple[str, ...]:
    """Condition columns that take several values inside one cell of the columns `within`.

    One is named only where those named before it do not settle it: a file's name says nothing new
    where the GPU does.
    """
    left_out = {*within, *but}
    here, found = cells(frame, within), []
    for name in condition_columns(frame, but=left_out):
        split = _split(here, codes(frame, name).to_numpy())
        if split.max(initial=-1) > here.max(initial=-1):
            found.append(name)
            here = split
    return tuple(found)


def _split(here: np.ndarray, own: np.ndarray) -> np.ndarray:
    pairs: np.ndarray = here * (int(own.max(initial=0)) + 2) + own + 1
    split: np.ndarray = np.unique(pairs, return_inverse=True)[1]
    return split


def kept_apart(
    frame: pd.DataFrame, pooling: Pooling = NOTHING_SAID, *, within: Sequence[str] = ()
) -> tuple[str, ...]:
    """Columns besides the axes by which rows must be kept apart, those asked for first."""
    pooling.check(frame)
    axes = [name for name in dict.fromkeys((*AXES, *within, *pooling.by)) if name in frame]
    own = tuple(name for name in pooling.by if name not in AXES)
    own += tuple(
        name
        for name in NEVER_AVERAGED
        if name in frame and name not in pooling.pool and _varies(codes(frame, name))
    )
    mixed = mixed_columns(frame, axes, but=(*pooling.pool, NAME))
    if not mixed and NAME in frame and NAME not in pooling.pool and not pooling.pool:
        known = cells(frame, [*axes, *condition_columns(frame)])
        # A table cut to fewer columns still has the hash of what it was cut from.
        if _split(known, codes(frame, NAME).to_numpy()).max(initial=-1) > known.max(initial=-1):
            mixed = (NAME,)
    return tuple(dict.fromkeys((*own, *mixed)))


def said_apart(frame: pd.DataFrame, names: Iterable[str], what: str) -> tuple[str, ...]:
    """Notes that rows were kept apart by columns, and how to choose."""
    return tuple(
        f"rows differ in {name} ({levels(frame, name)}): {what}; "
        f"--where {quote(f'{name}=VALUE')} takes one, --pool {quote(name)} overlooks it"
        for name in names
    )


def refuse_mixed(frame: pd.DataFrame, names: Sequence[str], *, ways: str) -> None:
    """Raise BadFile where rows of different conditions would be taken for replicates."""
    if not names:
        return
    listed = "; ".join(f"{name} ({levels(frame, name)})" for name in names)
    first = names[0]
    value = shown(next(iter(ordered(frame[first])), "VALUE"))
    apart = f", {ways} {quote(first)}" if ways else ""
    raise BadFile(
        source_of(frame),
        f"rows that would count as replicates differ in {listed}: choose with --where "
        f"{quote(f'{first}={value}')}{apart} or --pool {quote(first)}",
    )


def levels(frame: pd.DataFrame, name: str) -> str:
    """The levels of a column in a few words; an empty cell is `none` where the row knows it is."""
    blank = frame[name].map(lambda level: canonical(name, level)).isna()
    known = blank & _answered(frame, name)
    found = [shown(canonical(name, level)) for level in ordered(frame.loc[~blank, name])]
    found += ["none"] * bool(known.any()) + ["unknown"] * bool((blank & ~known).any())
    found = list(dict.fromkeys(found))
    more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    return ", ".join(found[:MOST_SHOWN]) + more


def _answered(frame: pd.DataFrame, name: str) -> pd.Series:
    """Rows whose cell answers even where it holds nothing: who started a server knows how."""
    said = frame[name].astype(str).str.strip().str.lower() == "none"
    said &= frame[name].notna()
    if name not in STARTED_WITH or "provenance" not in frame:
        return said
    started = frame["provenance"].astype(str).isin([MEASURED, SIMULATED])
    if "endpoint" in frame:
        started &= frame["endpoint"].isna() | (frame["endpoint"].astype(str) == "")
    return said | started


def labelled(frame: pd.DataFrame, column: str, names: Sequence[str]) -> pd.DataFrame:
    """Write the values of other columns behind a column's own: `A · H100`, a level of its own."""
    if not names:
        return frame
    text = frame[column].astype(str)
    for name in names:
        words = {
            level: word_of(name, shown(canonical(name, level))) for level in frame[name].unique()
        }
        text = text + SEPARATOR + frame[name].map(words).fillna(word_of(name, "unknown"))
    return frame.assign(**{column: text})
