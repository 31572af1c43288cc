"""Lines against concurrency, one for each strategy."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.data.load import AXIS, one_kind
from analysis.plots.canvas import legend, line, load_axis, panels, strategies
from analysis.series import curves, scaling
from analysis.style import label_of


def against_concurrency(frame: pd.DataFrame, response: str, origin: str) -> Figure:
    """A response against concurrency with 95 % intervals."""
    rows = curves(frame, response)
    labels = (AXIS[one_kind(frame)], label_of(response))
    return _lines(rows, labels, f"{label_of(response)}, {origin}", log=True)


def scaling_lines(frame: pd.DataFrame, response: str, origin: str) -> Figure:
    """Efficiency of scaling: 1 where doubling the load doubles the throughput."""
    rows = scaling(frame, response=response)
    title = f"Scaling efficiency against the lowest load, {origin}"
    labels = (AXIS[one_kind(frame)], "Efficiency (1 = linear)")
    figure = _lines(rows, labels, title, log=False)
    for axes in figure.axes:
        axes.axhline(1.0, color="0.6", linewidth=0.8)
        axes.set_ylim(bottom=0)
    return figure


def _lines(rows: pd.DataFrame, labels: tuple[str, str], title: str, *, log: bool) -> Figure:
    x_label, y_label = labels
    figure, made = panels(rows, ("model", "workload"), title)
    for panel in made:
        for name, each in strategies(panel.rows):
            line(panel.axes, name, each)
        if len(panel.rows):
            load_axis(panel.axes, panel.rows, x_label)
        if log:
            panel.axes.set_yscale("log")
        panel.axes.set_ylabel(y_label, fontsize=8)
    legend(figure, made)
    return figure
