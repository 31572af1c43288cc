"""Every kind of figure by its name."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.load import one_kind, with_load
from analysis.plots.bars import latency_bars, strategy_bars
from analysis.plots.lines import against_concurrency, scaling_lines
from analysis.plots.maps import winner_map
from analysis.plots.scatter import pareto, residual_points
from analysis.select import one_provenance, select
from analysis.series import narrowed
from catalog.errors import BadFile, UnknownName


@dataclass(frozen=True, slots=True)
class View:
    """What of the runs is drawn."""

    response: str = ""
    """Column on the axis; the kind's own when empty."""
    models: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    load: float | None = None
    """Load of the bar charts; the highest when None."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of figure."""

    draw: Callable[..., Figure]
    response: str
    what: str
    at_load: bool = False


KINDS: dict[str, Kind] = {
    "throughput": Kind(against_concurrency, "output_throughput", "throughput against concurrency"),
    "latency": Kind(against_concurrency, "mean_ttft_ms", "latency against concurrency"),
    "bars": Kind(strategy_bars, "output_throughput", "strategies at one load", at_load=True),
    "latency-bars": Kind(latency_bars, "mean_ttft_ms", "TTFT, ITL, E2E at one load", at_load=True),
    "pareto": Kind(pareto, "output_throughput_per_gpu", "tokens/s/GPU against tokens/s/user"),
    "scaling": Kind(scaling_lines, "output_throughput", "efficiency of scaling in concurrency"),
    "heatmap": Kind(winner_map, "output_throughput", "the best strategy per workload and load"),
    "residuals": Kind(residual_points, "output_throughput", "measured over estimated"),
}


def draw(
    frame: pd.DataFrame,
    kind: str,
    view: View | None = None,
    *,
    provenance: str | None = None,
    every_verdict: bool = False,
) -> Figure:
    """Draw a figure of valid runs of one provenance (residuals: of measured and simulated)."""
    if kind not in KINDS:
        raise UnknownName("kind of plot", kind, [*KINDS, "timeline"])
    chosen, view = KINDS[kind], view or View()
    response = view.response or chosen.response
    narrow = with_load(narrowed(frame, models=view.models, workloads=view.workloads))
    if kind == "residuals":
        rows = _valid_of_each(narrow, response)
        return chosen.draw(rows, response, "measured over simulated")
    picked = select(
        narrow,
        response=response,
        factors=["model", "strategy", "workload", "load"],
        provenance=provenance,
        every_verdict=every_verdict,
    )
    rows, origin = picked.frame, picked.provenance
    if not chosen.at_load:
        return chosen.draw(rows, response, origin)
    kind_of_load = one_kind(rows)
    load = rows["load"].max() if view.load is None else view.load
    at_load = rows[rows["load"] == load]
    if at_load.empty:
        raise UnknownName(kind_of_load, f"{load:g}", [f"{c:g}" for c in rows["load"]])
    return chosen.draw(at_load, response, f"{origin}, {kind_of_load} {load:g}")


def _valid_of_each(frame: pd.DataFrame, response: str) -> pd.DataFrame:
    if "provenance" not in frame:
        raise BadFile("table", "column 'provenance' is missing: what is measured, what estimated?")
    parts = [
        select(
            one_provenance(frame, name)[0], response=response, factors=["model"], provenance=name
        ).frame
        for name in frame["provenance"].unique()
    ]
    return pd.concat(parts)
