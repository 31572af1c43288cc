"""Bars at one load: strategies side by side, and the three latencies."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.data.order import ordered
from analysis.plots.canvas import label, legend, name_axes, panels, strategies
from analysis.plots.sheet import SCREEN, Sheet
from analysis.series import curves
from analysis.style import label_of, style_of
from analysis.tables.cells import mean_cell

LATENCIES = ("mean_ttft_ms", "mean_itl_ms", "mean_e2el_ms")
HATCHES = ("", "//", "..", "xx", "\\\\", "++")


def strategy_bars(frame: pd.DataFrame, response: str, origin: str, sheet: Sheet = SCREEN) -> Figure:
    """A response by model, one bar a strategy."""
    rows = curves(frame, response)
    figure, made = panels(rows, ("workload",), f"{label_of(response)}, {origin}", sheet=sheet)
    for panel in made:
        _grouped(panel.axes, panel.rows, "model")
    name_axes(figure, made, y=label_of(response))
    legend(figure, made, frame, sheet=sheet)
    return figure


def latency_bars(frame: pd.DataFrame, response: str, origin: str, sheet: Sheet = SCREEN) -> Figure:
    """TTFT, ITL and E2E by model, averaged over workloads, one bar a strategy."""
    del response  # the three latencies are the figure
    columns = [name for name in LATENCIES if name in frame]
    rows = pd.DataFrame([row for name in columns for row in _means(frame, name)])
    title = f"Latency, mean over workloads, {origin}"
    figure, made = panels(
        rows, ("metric",), title, across=[label_of(name) for name in columns], sheet=sheet
    )
    for panel in made:
        _grouped(panel.axes, panel.rows, "model")
    name_axes(figure, made, y="ms")
    legend(figure, made, frame, sheet=sheet)
    return figure


def _means(frame: pd.DataFrame, column: str) -> Iterator[dict[str, object]]:
    """Each model and strategy with the interval that its replicates allow."""
    measured = frame[frame[column].notna()]
    for (model, strategy), rows in measured.groupby(["model", "strategy"]):
        cell = mean_cell(rows, column)
        known = cell.over == "replicates"
        yield {
            "metric": label_of(column),
            "model": model,
            "strategy": strategy,
            "mean": cell.value,
            "low": cell.low if known else np.nan,
            "high": cell.high if known else np.nan,
        }


def _grouped(axes: Axes, rows: pd.DataFrame, group: str) -> None:
    """Groups across, a bar for each strategy; hatches tell them apart without colour."""
    groups = ordered(rows[group])
    names = [name for name, _ in strategies(rows)]
    width = 0.8 / max(1, len(names))
    for i, (name, each) in enumerate(strategies(rows)):
        at = each.set_index(group).reindex(groups)
        where = np.arange(len(groups)) + (i - (len(names) - 1) / 2) * width
        half = (at["high"] - at["mean"]).to_numpy(dtype=float)
        axes.bar(
            where,
            at["mean"].to_numpy(dtype=float),
            width,
            yerr=np.nan_to_num(half) if np.isfinite(half).any() else None,
            color=style_of(name).colour,
            hatch=HATCHES[i % len(HATCHES)],
            edgecolor="white",
            capsize=2,
            label=label(name),
        )
    axes.set_xticks(range(len(groups)), [label(g) for g in groups], rotation=20, ha="right")
    axes.grid(visible=False, axis="x")
