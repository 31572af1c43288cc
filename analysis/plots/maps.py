"""Heat map of the winning strategy over workload and concurrency."""

from collections.abc import Hashable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from analysis.data.load import AXIS, one_kind
from analysis.data.order import ordered, shown
from analysis.gpus import gpus_of
from analysis.plots.canvas import keys, label, name_axes, panels
from analysis.plots.sheet import SCREEN, Room, Sheet
from analysis.question import ComparisonSpec
from analysis.style import label_of, style_of
from analysis.winners import winners
from orchestrator.results.quantities import Better

CELL_IN = (0.45, 0.35)
"""Width and height of a cell with room for a name over its lead."""
LARGEST_PT = 6.5


def winner_map(
    frame: pd.DataFrame, response: str, origin: str, sheet: Sheet = SCREEN, *, better: Better = ""
) -> Figure:
    """The best strategy of each cell and its lead; pale where the runs do not settle it."""
    rows = winners(frame, ComparisonSpec(response=response, better=better))
    title = (
        f"Best strategy by {label_of(response)}, {origin}; lead over the second; pale: unsettled"
    )
    loads, workloads = ordered(rows["load"]), ordered(rows["workload"])
    width_in = max(3.4, CELL_IN[0] * len(loads) + 1)
    room = Room(width_in, max(2.1, CELL_IN[1] * len(workloads) + 0.9), narrowest_in=width_in)
    figure, made = panels(rows, ("model",), title, sheet=sheet, room=room)
    size = _text_size(figure, sheet, len(loads))
    for panel in made:
        for cell in panel.rows.to_dict("records"):
            x, y = loads.index(cell["load"]), workloads.index(cell["workload"])
            look = style_of(str(cell["strategy"]))
            alpha = 0.85 if cell["settled"] is True else 0.35
            panel.axes.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, color=look.colour, alpha=alpha)
            )
            panel.axes.text(x, y, _text(cell), ha="center", va="center", fontsize=size)
        panel.axes.set_xlim(-0.5, len(loads) - 0.5)
        panel.axes.set_ylim(len(workloads) - 0.5, -0.5)
        panel.axes.set_xticks(range(len(loads)), [shown(level) for level in loads])
        panel.axes.set_yticks(range(len(workloads)), [label(name) for name in workloads])
        panel.axes.grid(visible=False)
    name_axes(figure, made, x=AXIS[one_kind(frame)])
    names = [str(name) for name in ordered(rows["strategy"])]
    gpus = gpus_of(frame)
    found = {
        label(", ".join(filter(None, (name, gpus.get(name))))): Patch(color=style_of(name).colour)
        for name in names
    }
    keys(figure, found, sheet)
    return figure


def _text_size(figure: Figure, sheet: Sheet, loads: int) -> float:
    """Points of a cell's text: smaller where a column of a paper leaves a cell less room."""
    if sheet.columns is None:
        return LARGEST_PT
    room_in = (figure.get_size_inches()[0] - 1) / loads
    return float(min(LARGEST_PT, LARGEST_PT * room_in / CELL_IN[0] * 1.2))


def _text(cell: dict[Hashable, Any]) -> str:
    lead = cell["lead"]
    name = label(cell["strategy"])
    return name if lead is None or pd.isna(lead) else f"{name}\n+{100 * (lead - 1):.0f} %"
