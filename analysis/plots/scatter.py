"""Points: the Pareto front of efficiency and interactivity, and model against measurement."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.data.load import AXIS, one_kind
from analysis.plots.canvas import label, legend, load_axis, panels, strategies
from analysis.series import per_user, residuals
from analysis.style import label_of, style_of


def pareto(frame: pd.DataFrame, response: str, origin: str) -> Figure:
    """Tokens/s/GPU against tokens/s/user; the line joins what nothing else beats in both."""
    del response  # both axes are fixed by the kind
    rows = per_user(frame)
    figure, made = panels(rows, ("model", "workload"), f"Throughput against speed, {origin}")
    for panel in made:
        for name, each in strategies(panel.rows):
            look = style_of(name)
            panel.axes.scatter(
                each["per_user"], each["mean"], s=16, c=look.colour, marker=look.marker,
                label=label(name), alpha=0.8,
            )  # fmt: skip
        front = panel.rows[panel.rows["front"]].sort_values("per_user")
        panel.axes.step(front["per_user"], front["mean"], where="pre", color="0.4", linewidth=1)
        panel.axes.set_xlabel("Speed per user (tokens/s/user)")
        panel.axes.set_ylabel(label_of("output_throughput_per_gpu"), fontsize=8)
    legend(figure, made)
    return figure


def residual_points(frame: pd.DataFrame, response: str, origin: str) -> Figure:
    """Measured over estimated: 1 is agreement, above 1 the estimate is too low."""
    rows = residuals(frame, response)
    figure, made = panels(rows, ("model", "workload"), f"{label_of(response)}: {origin}")
    for panel in made:
        for name, each in strategies(panel.rows):
            look = style_of(name)
            ordered_rows = each.sort_values("load")
            panel.axes.plot(
                ordered_rows["load"], ordered_rows["ratio"], color=look.colour,
                marker=look.marker, linestyle=look.dash, markersize=4, label=label(name),
            )  # fmt: skip
        panel.axes.axhline(1.0, color="0.4", linewidth=0.8)
        panel.axes.set_yscale("log")
        if len(panel.rows):
            load_axis(panel.axes, panel.rows, AXIS[one_kind(frame)])
        panel.axes.set_ylabel("Measured / estimated")
    legend(figure, made)
    return figure
