"""Points: the Pareto front of efficiency and interactivity, and model against measurement."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.data.load import one_kind
from analysis.plots.axis import load_axis, log_y, plain_number
from analysis.plots.canvas import label, legend, name_axes, panels, strategies
from analysis.plots.sheet import SCREEN, Sheet
from analysis.series import against_load, per_user, residuals
from analysis.style import label_of, style_of
from orchestrator.results.record import IMPORTED, MEASURED

ROOM = (0.09, 0.06)
"""Of a point's label, in parts of the panel."""


def pareto(frame: pd.DataFrame, response: str, origin: str, sheet: Sheet = SCREEN) -> Figure:
    """Tokens/s/GPU against tokens/s/user; the line joins what nothing else beats in both.

    The number at a point is its load, where there is room for it.
    """
    del response  # both axes are fixed by the kind
    rows = per_user(frame)
    title = f"Throughput against speed, {origin}; at a point its {one_kind(frame)}"
    figure, made = panels(rows, ("model", "workload"), title, sheet=sheet)
    for panel in made:
        for name, each in strategies(panel.rows):
            look = style_of(name)
            panel.axes.scatter(
                each["per_user"], each["mean"], s=16, c=look.colour, marker=look.marker,
                label=label(name), alpha=0.8,
            )  # fmt: skip
        front = panel.rows[panel.rows["front"]].sort_values("per_user")
        panel.axes.step(front["per_user"], front["mean"], where="pre", color="0.4", linewidth=1)
        _label_loads(panel.axes, panel.rows)
    per_gpu = label_of("output_throughput_per_gpu")
    name_axes(figure, made, x="Speed (tokens/s/user)", y=per_gpu)
    legend(figure, made, frame, sheet=sheet)
    return figure


def _label_loads(axes: Axes, rows: pd.DataFrame) -> None:
    """Those on the front first; none where another label or its room would be written over."""
    taken: list[tuple[float, float]] = []
    first = rows.sort_values(["front", "load"], ascending=[False, True])
    for at_x, at_y, load in first[["per_user", "mean", "load"]].itertuples(index=False):
        x, y = axes.transLimits.transform((at_x, at_y))
        if any(abs(x - other) < ROOM[0] and abs(y - above) < ROOM[1] for other, above in taken):
            continue
        taken.append((float(x), float(y)))
        axes.annotate(
            plain_number(load), (at_x, at_y), xytext=(3, 2), textcoords="offset points",
            fontsize="xx-small", color="0.25",
        )  # fmt: skip


def residual_points(
    frame: pd.DataFrame, response: str, origin: str, sheet: Sheet = SCREEN
) -> Figure:
    """Measured over estimated: 1 is agreement, above 1 the estimate is too low."""
    of_runs = frame[frame["provenance"].isin([MEASURED, IMPORTED])]
    rows, x_label = against_load(residuals(frame, response), of_runs)
    title = f"{label_of(response)}: {origin}"
    figure, made = panels(rows, ("model", "workload"), title, sheet=sheet)
    for panel in made:
        for name, each in strategies(panel.rows):
            look = style_of(name)
            ordered_rows = each.sort_values("x")
            panel.axes.plot(
                ordered_rows["x"], ordered_rows["ratio"], color=look.colour,
                marker=look.marker, linestyle=look.dash, markersize=4, label=label(name),
            )  # fmt: skip
        panel.axes.axhline(1.0, color="0.4", linewidth=0.8)
        if len(panel.rows):
            load_axis(panel.axes, panel.rows["x"].to_numpy(dtype=float), x_label)
            log_y(panel.axes)
    name_axes(figure, made, x=x_label, y="Measured / estimated")
    legend(figure, made, frame, sheet=sheet)
    return figure
