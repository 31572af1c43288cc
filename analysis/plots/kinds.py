"""Every kind of figure by its name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

import pandas as pd
from matplotlib.figure import Figure

from analysis.data.conditions import NOTHING_SAID, Pooling
from analysis.data.load import one_kind, with_load
from analysis.data.select import RowSelection, one_provenance, select
from analysis.plots.bars import latency_bars, strategy_bars
from analysis.plots.lines import against_concurrency, scaling_lines
from analysis.plots.maps import winner_map
from analysis.plots.scatter import pareto, residual_points
from analysis.series import apart_in_models, narrowed
from catalog.errors import BadFile, UnknownName
from orchestrator.results.quantities import Better, is_higher_better


@dataclass(frozen=True, slots=True)
class PlotSelection:
    """What of the runs is drawn."""

    response: str = ""
    """Column on the axis; the kind's own when empty."""
    models: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    load: float | None = None
    """Load of the bar charts; the highest when None."""
    pooling: Pooling = NOTHING_SAID
    better: Better = ""
    """Which way is better for a response that has no known direction."""


@dataclass(frozen=True, slots=True)
class PlotKind:
    """One kind of figure."""

    draw: Callable[..., Figure]
    response: str
    what: str
    at_load: bool = False


KINDS: dict[str, PlotKind] = {
    "throughput": PlotKind(
        against_concurrency, "output_throughput", "throughput against concurrency"
    ),
    "latency": PlotKind(against_concurrency, "mean_ttft_ms", "latency against concurrency"),
    "bars": PlotKind(strategy_bars, "output_throughput", "strategies at one load", at_load=True),
    "latency-bars": PlotKind(
        latency_bars, "mean_ttft_ms", "TTFT, ITL, E2E at one load", at_load=True
    ),
    "pareto": PlotKind(pareto, "output_throughput_per_gpu", "tokens/s/GPU against tokens/s/user"),
    "scaling": PlotKind(scaling_lines, "output_throughput", "efficiency of scaling in concurrency"),
    "heatmap": PlotKind(winner_map, "output_throughput", "the best strategy per workload and load"),
    "residuals": PlotKind(residual_points, "output_throughput", "measured over estimated"),
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure and what to know of the rows behind it."""

    figure: Figure
    notes: tuple[str, ...]


def draw(
    frame: pd.DataFrame,
    kind: str,
    view: PlotSelection | None = None,
    **selected: Unpack[RowSelection],
) -> Figure:
    """Draw a figure of valid runs of one provenance (residuals: of measured and simulated)."""
    return drawing(frame, kind, view, **selected).figure


def drawing(
    frame: pd.DataFrame,
    kind: str,
    view: PlotSelection | None = None,
    **selected: Unpack[RowSelection],
) -> Drawing:
    """Draw a figure and say what was left out or kept apart."""
    if kind not in KINDS:
        raise UnknownName("kind of plot", kind, [*KINDS, "timeline"])
    chosen, view = KINDS[kind], view or PlotSelection()
    response = view.response or chosen.response
    narrow = narrowed(frame, models=view.models, workloads=view.workloads)
    if kind == "residuals":
        rows = with_load(_valid_of_each(narrow, response))
        return Drawing(chosen.draw(rows, response, "measured over simulated"), ())
    picked = select(
        narrow,
        response=response,
        factors=["model", "strategy", "workload"],
        **selected,
    )
    if kind == "heatmap":
        is_higher_better(response, view.better)
    rows, apart = apart_in_models(with_load(picked.frame), response, view.pooling)
    origin, notes = picked.provenance, (*picked.notes, *apart)
    if kind == "heatmap":
        return Drawing(winner_map(rows, response, origin, better=view.better), notes)
    if not chosen.at_load:
        return Drawing(chosen.draw(rows, response, origin), notes)
    kind_of_load = one_kind(rows)
    load = rows["load"].max() if view.load is None else view.load
    at_load = rows[rows["load"] == load]
    if at_load.empty:
        raise UnknownName(kind_of_load, f"{load:g}", [f"{c:g}" for c in rows["load"]])
    title = f"{origin}, {kind_of_load} {load:g}"
    return Drawing(chosen.draw(at_load, response, title), notes)


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
