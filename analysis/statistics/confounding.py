"""Differences that hide in a comparison: what else changes with a factor, and loads that differ."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.data.conditions import AXES, LAYOUT, cells, codes, condition_columns, levels
from analysis.data.order import ordered, shown
from orchestrator.results.quantities import OF_A_LAYOUT

# Half the sum of the differences of two shares (total variation) beyond which it is worth a word.
UNEVEN = 0.1
MOST_LEVELS = 4
"""Of a factor that a sentence lists: those that are farthest from the rest."""
SAID_BY_NAME = ("source", "configuration", "architecture", *LAYOUT)
"""A layout's degrees are its name's; a file's name is no cause."""
UNKNOWN = "unknown"
"""How `levels` calls what rows do not say."""
Key = tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class Confounds:
    """Columns in which a strategy differs from the reference, stratum by stratum."""

    reference: str
    by: tuple[str, ...]
    found: Mapping[tuple[str, str], Mapping[tuple[Hashable, ...], tuple[str, str]]]
    """Strategy and column → stratum → what each ran with."""

    def of(self, strategy: str, key: Key) -> tuple[str, ...]:
        place = tuple(_known(value) for _, value in key)
        return tuple(
            name
            for (arm, name), places in self.found.items()
            if arm == strategy and place in places
        )


def confounded(frame: pd.DataFrame, reference: str, by: Sequence[str]) -> Confounds:
    """Find where arms that are compared differ in more than the strategy.

    Hardware, counts of GPUs, software and labels are looked at; pooled columns, too.
    """
    named = set(by) | set(AXES) | set(SAID_BY_NAME) | {"num_prompts"}
    place = cells(frame, by)
    numbers, first = np.unique(place, return_index=True)
    columns = [frame[column].iloc[first].tolist() for column in by]
    keys = {
        number: tuple(_known(column[at]) for column in columns)
        for at, number in enumerate(numbers.tolist())
    }
    found: dict[tuple[str, str], dict[tuple[Hashable, ...], tuple[str, str]]] = {}
    for name in condition_columns(frame, but=named):
        used = _used(frame, name, place)
        if reference not in used:
            continue
        for arm in used.columns.drop(reference):
            both = used[[arm, reference]].dropna()
            if name in OF_A_LAYOUT:
                both = both[(both != UNKNOWN).all(axis=1)]
            for number, own, other in both[both[arm] != both[reference]].itertuples():
                found.setdefault((str(arm), name), {})[keys[number]] = (own, other)
    return Confounds(reference, tuple(by), found)


def _used(frame: pd.DataFrame, name: str, place: np.ndarray) -> pd.DataFrame:
    """What each strategy (columns) ran with in each stratum (rows), as text."""
    code = codes(frame, name)
    arm = frame["strategy"].astype(str).to_numpy()
    made = pd.DataFrame({"place": place, "arm": arm, "code": code}).drop_duplicates()
    words = {own: levels(rows, name) for own, rows in frame.groupby(code)}
    text = made.assign(text=made["code"].map(words)).sort_values("text")
    return text.groupby(["place", "arm"])["text"].agg(", ".join).unstack("arm")


def _known(value: object) -> Hashable:
    """A level that compares equal however a table spelled it."""
    return shown(value)


def confound_notes(beside: Confounds) -> tuple[str, ...]:
    """One sentence for each strategy and column."""
    notes = []
    for (arm, name), places in beside.found.items():
        own, other = next(iter(places.values()))
        where = f" in {len(places)} strata" if len(places) > 1 else ""
        notes.append(
            f"{arm} ran with {name} {own}, {beside.reference} with {other}{where}: "
            "their ratio holds both differences"
        )
    return tuple(notes)


def aliased_notes(frame: pd.DataFrame, factor: str, *, but: Sequence[str] = ()) -> tuple[str, ...]:
    """Say what else changes with a factor, level by level: its effect cannot be told apart."""
    notes = []
    for name in condition_columns(frame, but=(factor, *but, *AXES, *SAID_BY_NAME, "num_prompts")):
        own = codes(frame, name).groupby(frame[factor])
        if own.nunique().max() == 1 and own.first().nunique() > 1:
            told = {level: levels(rows, name) for level, rows in frame.groupby(factor)}
            listed = "; ".join(f"{shown(level)}: {text}" for level, text in told.items())
            notes.append(
                f"{name} changes with {factor} ({listed}): its effect is part of {factor}'s"
            )
    return tuple(notes)


def uneven_notes(
    frame: pd.DataFrame, response: str, factor: str, *, but: Sequence[str] = ()
) -> tuple[str, ...]:
    """Say where the levels of a factor ran under different other conditions (Simpson 1951).

    A factor tested alone then takes what those do for its own effect. Columns that part the rows
    alike are one condition, said once.
    """
    named = (factor, response, *but, *SAID_BY_NAME)
    notes = []
    for name, alike in _partitions(frame, condition_columns(frame, but=named)).items():
        table = pd.crosstab(codes(frame, factor), codes(frame, name))
        # What a level fixes (its GPUs, its file) is another kind of difference, or none.
        if (table > 0).sum(axis=1).max() < 2 or (table > 0).sum(axis=0).max() < 2:
            continue
        shares = table.div(table.sum(axis=1), axis=0).to_numpy()
        apart = np.abs(shares[:, None] - shares[None]).sum(axis=2).max() / 2
        if apart > UNEVEN:
            notes.append(_uneven(frame, response, factor, name, alike))
    return tuple(notes)


def _partitions(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, list[str]]:
    """Map the first of the columns that part the rows alike to the others."""
    first: dict[bytes, str] = {}
    alike: dict[str, list[str]] = {}
    for name in names:
        parted = pd.factorize(codes(frame, name))[0].tobytes()
        if parted in first:
            alike[first[parted]].append(name)
        else:
            first[parted] = name
            alike[name] = []
    return alike


def _uneven(
    frame: pd.DataFrame, response: str, factor: str, name: str, alike: Sequence[str]
) -> str:
    overall = frame[name].value_counts(normalize=True)
    told = []
    for level, rows in frame.groupby(factor):
        away = rows[name].value_counts(normalize=True).sub(overall, fill_value=0).abs().sum()
        text = ", ".join(f"{shown(v)} ({n})" for v, n in _counts(rows, name))
        told.append((float(away), f"{shown(level)}: {text}"))
    farthest = sorted(range(len(told)), key=lambda place: -told[place][0])[:MOST_LEVELS]
    counts = [told[place][1] for place in sorted(farthest)]
    more = f"; … {len(told) - len(counts)} more" if len(told) > len(counts) else ""
    also = f", and with it {', '.join(alike)}" if alike else ""
    text = (
        f"the levels of {factor} ran under different {name}{also} "
        f"({'; '.join(counts)}{more}; runs in brackets): a test of {factor} "
        f"alone takes the effect of {name} for its own"
    )
    turned = _turned(frame, response, factor, name)
    return f"{text}; {turned}" if turned else f"{text}; compare within {name}"


def _counts(rows: pd.DataFrame, name: str) -> list[tuple[object, int]]:
    return [(level, int((rows[name] == level).sum())) for level in ordered(rows[name])][:6]


def _turned(frame: pd.DataFrame, response: str, factor: str, name: str) -> str:
    """Say where two levels stand the other way round within every stratum than overall."""
    means: dict[object, float] = {
        level: float(rows[response].mean()) for level, rows in frame.groupby(factor)
    }
    inside = frame.groupby([name, factor])[response].mean().unstack(factor)
    names = ordered(means)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            within = (inside[second] - inside[first]).dropna()
            overall = means[second] - means[first]
            if len(within) and (np.sign(within) == -np.sign(overall)).all():
                word = "higher" if overall < 0 else "lower"
                return (
                    f"within each {name} both share, {shown(second)} is {word} than "
                    f"{shown(first)}, the other way round (Simpson's paradox)"
                )
    return ""
