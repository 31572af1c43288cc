"""What the rows replicate: the server launch is the experimental unit, not the row."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

# What besides the strategy tells two conditions apart.
CONDITION = ("model", "technique", "workload", "max_concurrency", "request_rate")


@dataclass(frozen=True, slots=True)
class Replication:
    """How often each factor was really set anew."""

    launches: int
    """Distinct server launches; 0 when the table does not say."""
    cells: int
    """Distinct combinations of what a launch fixes (model, strategy, technique)."""
    between: tuple[str, ...]
    """Factors that never change within a launch."""
    repeated: bool
    """Some condition was measured more than once."""

    @property
    def launches_replicated(self) -> bool:
        return self.launches > self.cells > 0


def replication(frame: pd.DataFrame, factors: Sequence[str]) -> Replication:
    """Count launches and find the factors that only vary between them."""
    condition = [c for c in ("strategy", *CONDITION, *factors) if c in frame]
    repeated = bool(frame.duplicated(subset=list(dict.fromkeys(condition))).any())
    if "server_group" not in frame or (frame["server_group"].astype(str) == "").any():
        return Replication(0, 0, (), repeated)
    launch = frame["server_group"].astype(str)
    fixed = [c for c in dict.fromkeys(condition) if frame.groupby(launch)[c].nunique().max() == 1]
    cells = len(frame[fixed].drop_duplicates()) if fixed else 1
    between = tuple(factor for factor in factors if factor in fixed)
    return Replication(int(launch.nunique()), cells, between, repeated)


def pseudo_replication(
    frame: pd.DataFrame, response: str, factors: Sequence[str]
) -> tuple[str, ...]:
    """Say where a p-value would count rows that are not independent."""
    found = replication(frame, factors)
    notes = []
    if found.repeated and _copies(frame, response, factors):
        notes.append(
            "replicates repeat the same numbers to the last digit (a simulation without noise "
            "does): each row is counted several times, so p is too small; keep one replicate"
        )
    if found.launches == 0 and found.repeated:
        notes.append(
            "conditions repeat but no column 'server_group' says which server launch a row came "
            "from: if repeats share a launch, they are not independent and p is too small"
        )
    if found.between and not found.launches_replicated:
        notes.append(
            f"{len(frame)} rows come from {found.launches} server launches, one for each "
            f"combination of {_list(found.between)}: their p cannot tell the effect from the luck "
            "of one launch; repeat with --num-runs 3 or more, each replicate on a new launch"
        )
    elif found.between:
        notes.append(
            f"{_list(found.between)}: {len(frame)} rows are {found.launches} server launches; "
            "p counts rows, mixed_p counts launches and is the one to claim"
        )
    return tuple(notes)


def _copies(frame: pd.DataFrame, response: str, factors: Sequence[str]) -> bool:
    """Whether every condition that was repeated gave the same number each time."""
    condition = [c for c in dict.fromkeys(("strategy", *CONDITION, *factors)) if c in frame]
    cells = frame.groupby(condition, dropna=False)[response].agg(["min", "max", "count"])
    repeated = cells[cells["count"] > 1]
    return bool((repeated["min"] == repeated["max"]).all())


def _list(names: Sequence[str]) -> str:
    return " and ".join(names)
