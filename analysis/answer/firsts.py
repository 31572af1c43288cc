"""Who is first by other measures than the response: throughput per GPU, time to first token."""

from dataclasses import replace

import pandas as pd

from analysis.data.order import ordered
from analysis.question import ComparisonSpec
from analysis.winners import beside, winners

PER_GPU = "output_throughput_per_gpu"
FIRST_TOKEN = "mean_ttft_ms"  # noqa: S105 (a column)


def firsts(rows: pd.DataFrame, spec: ComparisonSpec, column: str) -> dict[str, tuple[str, str]]:
    """Each model's strategy that is first most often, and in how many conditions; no tie counts.

    Only models that have the measure everywhere; per GPU only those whose strategies take different
    numbers of GPUs, since it says nothing new of others.
    """
    if column not in rows:
        return {}
    whole = rows.groupby("model")[column].transform("min") > 0
    known = rows[whole & (rows[column].notna().groupby(rows["model"]).transform("all"))]
    if column == PER_GPU:
        if "num_gpus" not in known:
            return {}
        known = known[known.groupby("model")["num_gpus"].transform("nunique") > 1]
    if known.empty:
        return {}
    best = beside(winners(known, replace(spec, response=column)))
    return {
        str(model): _counted(apart, len(here))
        for model, here in best.groupby("model")
        if len(apart := here[~here["standing"].isin(["equal", "near"])])
    }


def _counted(apart: pd.DataFrame, conditions: int) -> tuple[str, str]:
    """Of the conditions in which one is first, and their number with those that are ties."""
    counts = apart["strategy"].astype(str).value_counts()
    name, *others = (str(each) for each in ordered(counts.index[counts == counts.max()]))
    mine = apart.loc[apart["strategy"] == name, "settled"].to_list()
    shown_in = sum(value is True for value in mine)
    tested = apart["settled"].map(lambda value: value is not None).any()
    told = f", shown in {shown_in or 'none'}" if tested else ""
    beside_it = f"; {' and '.join(others)} in as many" if others else ""
    return name, f"{len(mine)} of {conditions} conditions{told}{beside_it}"
