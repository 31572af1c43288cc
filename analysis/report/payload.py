"""The numbers that the page's script draws: columns, with text coded by its place in a list."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.data.load import IN_FLIGHT, in_flight, with_load
from analysis.data.order import ordered
from analysis.data.reached import reached
from analysis.data.requests import LatencyCounts, quantiles_s
from analysis.gpus import gpus_of
from analysis.series import curves
from analysis.style import label_of, style_of
from analysis.web.packed import RUN_COLUMNS, coded, packed_table, script_safe
from catalog.errors import InputError
from orchestrator.results.quantities import is_higher_better

if TYPE_CHECKING:
    from analysis.report.group import ProvenanceGroup

METRICS = (
    "output_throughput", "output_throughput_per_gpu", "request_throughput", "request_goodput",
    "mean_ttft_ms", "p99_ttft_ms", "mean_itl_ms", "p99_itl_ms", "mean_tpot_ms", "mean_e2el_ms",
    "p99_e2el_ms", "usd_per_million_output_tokens", "joules_per_output_token",
)  # fmt: skip
CELL = ("group", "model", "workload", "strategy", "kind", "load")
SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
CONTRAST_COLUMNS = {
    "provenance": "provenance", "model": "model", "workload": "workload",
    "max_concurrency": "concurrency", "request_rate": "requests/s", "strategy": "strategy",
    "reference": "against", "ratio": "ratio", "ratio_low": "from", "ratio_high": "to",
    "pairs": "pairs", "p_adjusted": "p adjusted", "p_equivalence": "p equivalence",
    "verdict": "verdict", "runs_needed": "runs needed", "reason": "reason",
    "confounded_by": "differs also in",
}  # fmt: skip


def payload_of(
    frame: pd.DataFrame,
    groups: Sequence["ProvenanceGroup"],
    counts: LatencyCounts | None,
    lines: Sequence[dict[str, object]] = (),
) -> str:
    """Everything the script needs, as JSON that is inert inside a script element.

    `lines` say what each server carries.
    """
    usable = pd.concat([_usable(frame, group) for group in groups])
    strategies = [str(name) for name in ordered(usable["strategy"])]
    metrics = [m for m in METRICS if m in usable and _tells(usable[m])]
    gpus = gpus_of(usable)
    contrasts = [r for g in groups if g.comparison for r in g.comparison.rows()]
    data = {
        "strategies": [_look(name, gpus) for name in strategies],
        "metrics": [
            {"key": m, "label": label_of(m), "higher": is_higher_better(m)} for m in metrics
        ],
        "order": {name: ordered(usable[name]) for name in ("model", "workload", "group")},
        "cells": _cells(usable, metrics),
        "winners": [r for g in groups for r in _winners(g)],
        "contrasts": packed_table(contrasts, CONTRAST_COLUMNS),
        "carried": packed_table(lines, {name: name for line in lines for name in line}),
        "runs": packed_table(_records(frame), RUN_COLUMNS),
        "latencies": _latencies(usable, counts) if counts else [],
        "shares": SHARES,
    }
    return script_safe(data)


def _usable(frame: pd.DataFrame, group: "ProvenanceGroup") -> pd.DataFrame:
    rows = frame[frame["output_throughput"].notna()]
    if "provenance" in rows:
        rows = rows[rows["provenance"].astype(str).replace("", "unstated") == group.name]
    if "verdict" in rows:
        rows = rows[rows["verdict"].isin(["valid", ""])]
    loaded = with_load(reached(rows)[0])
    return loaded.assign(group=group.name, kind=loaded["load_kind"])


def _tells(values: pd.Series) -> bool:
    """Whether a column has a number; one that is empty throughout was read as text."""
    return pd.api.types.is_numeric_dtype(values) and bool(values.notna().any())


def _cells(rows: pd.DataFrame, metrics: Sequence[str]) -> dict[str, object]:
    """Means and intervals of every metric in every cell, one list a column."""
    made: pd.DataFrame | None = None
    for metric in metrics:
        try:
            table = curves(rows, metric, by=CELL)
        except InputError:
            continue
        names = {n: f"{metric}.{n}" for n in ("mean", "low", "high", "n")}
        table = table.rename(columns=names)
        made = table if made is None else made.merge(table, on=list(CELL), how="outer")
    if made is None:
        return {}
    made = made.merge(in_flight(rows, CELL), on=list(CELL), how="left")
    made = made.sort_values(list(CELL), ignore_index=True)
    named = made.rename(columns={IN_FLIGHT: "in_flight"})
    return {str(name): coded(named[name].tolist()) for name in named}


def _winners(group: "ProvenanceGroup") -> Iterable[dict[str, object]]:
    for row in _records(group.winners):
        yield {**row, "group": group.name}


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _latencies(rows: pd.DataFrame, counts: LatencyCounts) -> list[dict[str, object]]:
    """Percentiles over all requests of a cell's runs, in milliseconds."""
    made = []
    for key, cell in rows.groupby(list(CELL), sort=False):
        places = [counts.runs[str(run)] for run in cell["run_id"] if str(run) in counts.runs]
        ttft, e2el = (table[places].sum(axis=0) for table in (counts.ttft, counts.e2el))
        if ttft.sum() or e2el.sum():
            named = dict(zip(CELL, key, strict=True))
            made.append(named | {"ttft": _ms(ttft), "e2el": _ms(e2el), "n": int(e2el.sum())})
    return made


def _ms(histogram: np.ndarray) -> list[float | None]:
    return [None if q is None else 1e3 * q for q in quantiles_s(histogram, SHARES)]


def _look(name: str, gpus: dict[str, str]) -> dict[str, str]:
    look = {"colour": style_of(name).colour, "marker": style_of(name).marker}
    return {"name": name, "gpus": gpus.get(name, ""), "dash": style_of(name).dash, **look}
