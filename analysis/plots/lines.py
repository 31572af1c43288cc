"""Lines against the load, one for each strategy."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.axis import load_axis, log_y
from analysis.plots.canvas import legend, line, name_axes, panels, strategies
from analysis.plots.sheet import SCREEN, Sheet
from analysis.series import against_load, curves, scaling
from analysis.style import label_of


def against_concurrency(
    frame: pd.DataFrame, response: str, origin: str, sheet: Sheet = SCREEN
) -> Figure:
    """A response against the load with 95 % intervals."""
    title, name = f"{label_of(response)}, {origin}", label_of(response)
    return _lines(curves(frame, response), frame, (title, name), sheet, log=True)


def scaling_lines(frame: pd.DataFrame, response: str, origin: str, sheet: Sheet = SCREEN) -> Figure:
    """Efficiency of scaling: 1 where doubling the load doubles the throughput."""
    rows = scaling(frame, response=response)
    title = f"Scaling efficiency against the lowest load, {origin}"
    figure = _lines(rows, frame, (title, "Efficiency (1 = linear)"), sheet, log=False)
    for axes in figure.axes:
        axes.axhline(1.0, color="0.6", linewidth=0.8)
        axes.set_ylim(bottom=0)
    return figure


def _lines(
    rows: pd.DataFrame, frame: pd.DataFrame, texts: tuple[str, str], sheet: Sheet, *, log: bool
) -> Figure:
    title, y_label = texts
    rows, x_label = against_load(rows, frame)
    figure, made = panels(rows, ("model", "workload"), title, sheet=sheet)
    for panel in made:
        for name, each in strategies(panel.rows):
            line(panel.axes, name, each, x="x")
        if len(panel.rows):
            load_axis(panel.axes, panel.rows["x"].to_numpy(dtype=float), x_label)
            if log:
                log_y(panel.axes)
    name_axes(figure, made, x=x_label, y=y_label)
    legend(figure, made, frame, sheet=sheet)
    return figure
