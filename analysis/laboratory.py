"""Does the winner change? The strategies' order under the laboratory's load and under traffic.

A laboratory workload has prompts of one length and answers of one length, of random tokens, no two
alike; anything else of the language of workloads is traffic. Claims are those of `winners`: a
leader counts where the corrected contrasts show it to be better than every other strategy.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from analysis.data.load import with_load
from analysis.data.pairs import Stratum, strata
from analysis.question import BY, ComparisonSpec
from analysis.winners import CONDITION, winners
from workloads.load.profiles import is_laboratory

COLUMNS = (
    "model", "load_kind", "load", "laboratory", "traffic", "leader_laboratory", "leader_traffic",
    "changes", "against", "ratio_laboratory", "ratio_traffic", "change", "change_low",
    "change_high",
)  # fmt: skip
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a ratio of two strategies moves from one workload to another; bounds are 95 %."""

    laboratory: float | None = None
    traffic: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None


def winner_changes(
    frame: pd.DataFrame, spec: ComparisonSpec | None = None, best: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return a row for each model, load, laboratory workload and traffic that ran under it.

    `changes` is `yes` or `no` where both leaders are shown to lead, else `open`. The ratios are the
    laboratory's leader over `against`, the traffic's leader or, where that is the same, its
    runner-up; `change` is the traffic's over the laboratory's, with Welch's interval of their
    logarithms, None with fewer than two runs of either. `best` are the winners, where known.
    """
    spec = spec or ComparisonSpec()
    best = winners(frame, spec) if best is None else best
    by = tuple(dict.fromkeys((*CONDITION, *(name for name in BY if name in frame))))
    groups = list(strata(with_load(frame), spec.response, by, pool=spec.pool))
    rows = [_row(lab, real, groups) for lab, real in _pairs(best)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def change_sentences(changes: pd.DataFrame) -> list[str]:
    """One sentence for each traffic against each laboratory workload of a model."""
    together = changes.groupby(["laboratory", "traffic"], sort=False)
    return [_sentence(str(lab), str(real), rows) for (lab, real), rows in together]


def _sentence(laboratory: str, traffic: str, rows: pd.DataFrame) -> str:
    told = []
    for change, words in (("yes", "yes at {}"), ("no", "no at {}"), ("open", "open at {}")):
        here = rows[rows["changes"] == change]
        if len(here):
            told.append(words.format(", ".join(_at(row) for row in here.to_dict("records"))))
    return f"Does the winner change from {laboratory} to {traffic}? " + "; ".join(told) + "."


def _at(row: Mapping[object, object]) -> str:
    first, second = row["leader_laboratory"], row["leader_traffic"]
    leads = f"{first} leads both" if first == second else f"{first}, then {second}"
    return f"{row['load_kind']} {row['load']:g} ({leads}{_moved(row)})"


def _moved(row: Mapping[object, object]) -> str:
    values = [row[name] for name in ("ratio_laboratory", "ratio_traffic")]
    if not all(isinstance(value, float) and math.isfinite(value) for value in values):
        return ""
    before, after = (f"{value:.2f}" for value in values)
    return f"; {row['leader_laboratory']} over {row['against']}: {before}, then {after}"


def _pairs(best: pd.DataFrame) -> Iterator[tuple[Row, Row]]:
    """Rows of one model and load, one of a laboratory workload and one of traffic."""
    same = ("model", "load_kind", "load")
    records = [{str(name): row[name] for name in row} for row in best.to_dict("records")]
    for real in records:
        for lab in records:
            alike = all(lab[name] == real[name] for name in same)
            if alike and is_laboratory(str(lab["workload"])) > is_laboratory(str(real["workload"])):
                yield lab, real


def _row(lab: Row, real: Row, groups: list[Stratum]) -> dict[str, object]:
    first, second = str(lab["strategy"]), str(real["strategy"])
    shown = lab["settled"] is True and real["settled"] is True
    against = real["runner_up"] if first == second else second
    shift = Shift()
    if against is not None:
        shift = _shift(_stratum(groups, lab), _stratum(groups, real), first, str(against))
    return {
        **{name: real[name] for name in ("model", "load_kind", "load")},
        "laboratory": lab["workload"],
        "traffic": real["workload"],
        "leader_laboratory": first,
        "leader_traffic": second,
        "changes": "open" if not shown else "no" if first == second else "yes",
        "against": against,
        "ratio_laboratory": shift.laboratory,
        "ratio_traffic": shift.traffic,
        "change": shift.change,
        "change_low": shift.low,
        "change_high": shift.high,
    }


def _stratum(groups: list[Stratum], row: Row) -> Stratum | None:
    """The runs of a winner's condition; None where several differ in something else."""
    wanted = {name: row[name] for name in CONDITION}
    found = [each for each in groups if wanted.items() <= dict(each.key).items()]
    return found[0] if len(found) == 1 else None


def _shift(lab: Stratum | None, real: Stratum | None, first: str, other: str) -> Shift:
    logs = [
        each.pairs(first, other).logs
        if each is not None and {first, other} <= set(each.logs)
        else np.empty(0)
        for each in (lab, real)
    ]
    if not all(len(each) for each in logs):
        return Shift()
    before, after = (float(each.mean()) for each in logs)
    shift = Shift(math.exp(before), math.exp(after), math.exp(after - before))
    if min(map(len, logs)) < 2 or max(np.ptp(each) for each in logs) == 0:
        return shift
    bounds = stats.ttest_ind(logs[1], logs[0], equal_var=False).confidence_interval(0.95)
    return replace(shift, low=math.exp(bounds.low), high=math.exp(bounds.high))
