"""The rows one answer rests on: usable ones, of one provenance, with arms and models apart."""

import pandas as pd

from analysis.data.conditions import SEPARATOR, Pooling, kept_apart, labelled, said_apart

UNNAMED = "unnamed layout"
PROVENANCES = ("measured", "imported", "simulated", "unstated")


def usable_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The valid runs that have a throughput."""
    valid = rows if "verdict" not in rows else rows[rows["verdict"].isin(["valid", ""])]
    return valid[valid["output_throughput"].notna()]


def provenance_of(rows: pd.DataFrame) -> str:
    """The one provenance of all rows; `unstated` where they have none or several."""
    names = set(rows["provenance"]) if "provenance" in rows else set()
    return str(names.pop() or "unstated") if len(names) == 1 else "unstated"


def by_provenance(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Rows by provenance, measured first: each is analysed alone."""
    if "provenance" not in frame:
        return [("unstated", frame)]
    names = frame["provenance"].astype(str).replace("", "unstated")
    order = sorted(
        set(names),
        key=lambda name: (PROVENANCES.index(name) if name in PROVENANCES else 9, name),
    )
    return [(name, frame[names == name]) for name in order]


def with_arms(frame: pd.DataFrame) -> pd.DataFrame:
    """Name an arm by strategy and technique where there are several techniques.

    An arm whose layout nobody said, as of an import, has a name that says so.
    """
    frame = frame.assign(strategy=frame["strategy"].where(frame["strategy"] != "", UNNAMED))
    if "technique" not in frame or frame["technique"].nunique() < 2:
        return frame
    technique = frame["technique"].astype(str)
    plain = technique.isin(["", "none"])
    return frame.assign(
        strategy=frame["strategy"].where(plain, frame["strategy"] + SEPARATOR + technique),
        technique="",
    )


def arms_for(frame: pd.DataFrame, reference: str | None) -> pd.DataFrame:
    """Name arms by technique as well where the reference does: `tp · fp8`."""
    if reference is None or "strategy" not in frame or reference in set(frame["strategy"]):
        return frame
    arms = with_arms(frame)
    return arms if reference in set(arms["strategy"]) else frame


def models_apart(rows: pd.DataFrame, pooling: Pooling) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Give rows that must not be averaged models of their own; only usable rows decide."""
    usable = usable_rows(rows)
    names = kept_apart(usable.drop(columns="output_throughput"), pooling)
    notes = said_apart(usable, names, "each is answered apart, behind the model's name")
    return labelled(rows, "model", names), notes
