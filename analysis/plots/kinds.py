"""Every kind of figure by its name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Unpack

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from analysis.data.conditions import NOTHING_SAID, Pooling
from analysis.data.load import IN_FLIGHT, one_kind, placed, with_load
from analysis.data.order import ordered
from analysis.data.select import RowSelection, one_provenance, select
from analysis.plots.bars import latency_bars, strategy_bars
from analysis.plots.lines import against_concurrency, scaling_lines
from analysis.plots.maps import winner_map
from analysis.plots.scatter import pareto, residual_points
from analysis.plots.sheet import SCREEN, Sheet
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
class PaperFigure:
    """A kind of figure with the choices that a paper made."""

    kind: str
    what: str
    workloads: tuple[str, ...] = ()
    load: float | None = None


FIGURES = {
    "figure-2": PaperFigure(
        "bars", "throughput by strategy at concurrency 128, decode-heavy", ("decode-heavy",), 128
    ),
    "figure-3": PaperFigure("throughput", "throughput against concurrency, decode-heavy",
                            ("decode-heavy",)),
    "figure-4": PaperFigure("latency-bars", "TTFT, ITL, E2E at concurrency 32, over workloads",
                            load=32),
}  # fmt: skip
"""Figures 2 to 4 of the parallelism study (`perfmodel.reference.PARALLELISM_STUDY`)."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure and what to know of the rows behind it."""

    figure: Figure
    notes: tuple[str, ...]


def draw(
    frame: pd.DataFrame,
    kind: str,
    view: PlotSelection | None = None,
    sheet: Sheet = SCREEN,
    **selected: Unpack[RowSelection],
) -> Figure:
    """Draw a figure of valid runs of one provenance (residuals: of measured and simulated)."""
    return drawing(frame, kind, view, sheet, **selected).figure


def drawing(
    frame: pd.DataFrame,
    kind: str,
    view: PlotSelection | None = None,
    sheet: Sheet = SCREEN,
    **selected: Unpack[RowSelection],
) -> Drawing:
    """Draw a figure and say what was left out or kept apart.

    The paper's figures take loads as asked for, as the paper does, and its workload and load
    unless `view` has others.
    """
    view = view or PlotSelection()
    if kind in FIGURES:
        of_paper = FIGURES[kind]
        workloads, load = view.workloads or of_paper.workloads, view.load or of_paper.load
        view = replace(view, workloads=workloads, load=load)
        selected["as_asked"] = True
        return drawing(frame, of_paper.kind, view, sheet, **selected)
    if kind not in KINDS:
        raise UnknownName(
            "kind of plot", kind, [*KINDS, *FIGURES, "timeline", "traffic", "landscape"]
        )
    chosen = KINDS[kind]
    response = view.response or chosen.response
    narrow = narrowed(frame, models=view.models, workloads=view.workloads)
    # Sizes that are relative to a font's are so to the sheet's.
    with mpl.rc_context(sheet.settings):
        if kind == "residuals":
            rows = with_load(_valid_of_each(narrow, response))
            return Drawing(chosen.draw(rows, response, "measured over simulated", sheet), ())
        picked = select(
            narrow, response=response, factors=["model", "strategy", "workload"], **selected
        )
        if kind == "heatmap":
            is_higher_better(response, view.better)
        loaded, unplaced = placed(picked.frame)
        if selected.get("as_asked"):
            loaded = loaded.drop(columns=IN_FLIGHT, errors="ignore")  # the axis, too, is as asked
        rows, apart = apart_in_models(loaded, response, view.pooling)
        made = _drawn(kind, rows, replace(view, response=response), picked.provenance, sheet)
    return Drawing(made, (*picked.notes, *unplaced, *apart))


def _drawn(kind: str, rows: pd.DataFrame, view: PlotSelection, origin: str, sheet: Sheet) -> Figure:
    if kind == "heatmap":
        return winner_map(rows, view.response, origin, sheet, better=view.better)
    if KINDS[kind].at_load:
        kind_of_load = one_kind(rows)
        load = rows["load"].max() if view.load is None else view.load
        known = [f"{level:g}" for level in ordered(rows["load"])]
        rows = rows[rows["load"] == load]
        if rows.empty:
            raise UnknownName(kind_of_load, f"{load:g}", known)
        origin = f"{origin}, {kind_of_load} {load:g}"
    return KINDS[kind].draw(rows, view.response, origin, sheet)


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
