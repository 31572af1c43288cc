"""What to know of a model's rows before the answer from them is believed."""

import pandas as pd

from analysis.data.arms import provenance_of
from analysis.data.conditions import cells
from analysis.data.grid import conditions_of
from analysis.data.order import ordered
from orchestrator.results.record import SIMULATED
from perfmodel.known_error import RATIOS_OFF
from workloads.figures.capacity import LIMITS, TARGET

KEPT = "slo_attainment"


def absent_from(rows: pd.DataFrame, every: pd.DataFrame) -> list[str]:
    """Which strategies lack conditions that others have: those say nothing of them.

    `every` are the rows of all verdicts: a run that does not count was run.
    """
    tried = every["strategy"].astype(str).value_counts()
    held = pd.crosstab(cells(rows, conditions_of(rows)), rows["strategy"].astype(str)) > 0
    counts = {str(name): int((~held[name]).sum()) for name in ordered(held)}
    failed = [f"{n} has no valid run" for n in ordered(tried.index.difference(held.columns))]
    whole = rows["strategy"].astype(str).value_counts()
    return failed + [
        f"{name} {'has no valid run' if tried[name] > whole[name] else 'was not run'} in "
        f"{count} of {len(held)} conditions"
        for name, count in counts.items()
        if count
    ]


def limits_missed(rows: pd.DataFrame) -> list[str]:
    """In how many conditions a layout's requests did not keep the limits that were given."""
    if not {KEPT, LIMITS, TARGET} <= set(rows) or rows[LIMITS].nunique() != 1:
        return []
    judged = rows[rows[KEPT].notna() & rows[TARGET].notna()]
    if judged.empty:
        return []
    by = [judged["strategy"].astype(str), cells(judged, conditions_of(judged))]
    means = judged[[KEPT, TARGET]].astype(float).groupby(by).mean()
    missed = means[KEPT] < means[TARGET]
    counts = missed.groupby(level=0).sum().astype(int).to_dict()
    told = [f"{name} in {counts[name]}" for name in map(str, ordered(counts)) if counts[name]]
    if not told:
        return []
    limits, target = rows[LIMITS].dropna().iloc[0], judged[TARGET].astype(float).min()
    of = missed.index.get_level_values(1).nunique()
    return [
        f"fewer than {target:g} of requests kept the limits {limits}: {', '.join(told)} of {of} "
        "conditions (compare --response request_goodput counts those that did)"
    ]


def ratios_off(rows: pd.DataFrame) -> list[str]:
    """Of estimates: layouts whose ratios to others are known less well than the tie says."""
    if provenance_of(rows) != SIMULATED or not {"tp", "num_gpus"} <= set(rows):
        return []
    names = ordered(rows.loc[rows["tp"] < rows["num_gpus"], "strategy"].unique())
    least, most = RATIOS_OFF
    return [
        f"with data or pipeline parallelism ({', '.join(map(str, names))}) estimated ratios were "
        f"off by factors of {least:g} to {most:g}"
    ] * bool(names)
