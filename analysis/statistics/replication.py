"""What the rows replicate: the server launch is the experimental unit, not the row."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from analysis.data.conditions import cells
from analysis.data.launches import launch_codes, launches_known
from analysis.statistics.contrast import Rule, planned_runs
from analysis.statistics.design import TIMES

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
    settings = len(frame[fixed].drop_duplicates()) if fixed else 1
    between = tuple(factor for factor in factors if factor in fixed)
    return Replication(int(launch.nunique()), settings, between, repeated)


def pseudo_replication(
    frame: pd.DataFrame, response: str, factors: Sequence[str], *, order: int = 1
) -> tuple[str, ...]:
    """Say where a p-value would count rows that are not independent.

    With an `order` above one, interactions of factors that a launch fixes are named, too.
    """
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
            f"of one launch; repeat with --num-runs {planned_runs(Rule())}, each replicate on a "
            "new launch"
        )
    elif found.between:
        notes.append(
            f"{_list(_terms(found.between, order))}: {len(frame)} rows are {found.launches} "
            "server launches; "
            "p counts rows, mixed_p counts launches and is the one to claim"
        )
    return tuple(notes)


def launch_notes(frame: pd.DataFrame, apart: Sequence[str] = ()) -> tuple[str, ...]:
    """Say where repeats share a launch, or where nothing says whether they do.

    `apart` are columns beyond the usual that tell conditions apart.
    """
    names = [c for c in dict.fromkeys(("strategy", *CONDITION, *apart)) if c in frame]
    runs = pd.DataFrame({"cell": cells(frame, names), "launch": launch_codes(frame)})
    counts = runs.groupby("cell")["launch"].agg(["size", "nunique"])
    repeated = counts[counts["size"] > 1]
    if repeated.empty:
        return ()
    if not launches_known(frame):
        none = "not every row's" if "server_group" in frame else "no column"
        return (
            f"{none} 'server_group' says which server launch a repeated run came from: each "
            "counts as a launch of its own; if they share one, claims are too sure",
        )
    shared = repeated[repeated["nunique"] < repeated["size"]]
    if shared.empty:
        return ()
    rows, distinct = shared["size"].to_numpy(), shared["nunique"].to_numpy()
    most = int((rows / distinct).argmax())
    launches = int(distinct[most])
    of = "one server launch" if launches == 1 else f"{launches} server launches"
    return (
        f"up to {int(rows[most])} runs of a condition come from {of} (server_group): what shares "
        f"a launch is one observation; plan {planned_runs(Rule())} launches",
    )


def _copies(frame: pd.DataFrame, response: str, factors: Sequence[str]) -> bool:
    """Whether every condition that was repeated gave the same number each time."""
    condition = [c for c in dict.fromkeys(("strategy", *CONDITION, *factors)) if c in frame]
    values = frame.groupby(condition, dropna=False)[response].agg(["min", "max", "count"])
    repeated = values[values["count"] > 1]
    return bool((repeated["min"] == repeated["max"]).all())


def _terms(names: Sequence[str], order: int) -> tuple[str, ...]:
    """The factors and their interactions up to an order."""
    sizes = range(1, min(order, len(names)) + 1)
    return tuple(TIMES.join(chosen) for size in sizes for chosen in combinations(names, size))


def _list(names: Sequence[str]) -> str:
    return " and ".join(names)
