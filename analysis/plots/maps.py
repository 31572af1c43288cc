"""Heat map of the winning strategy over workload and concurrency."""

from collections.abc import Hashable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from analysis.data.load import AXIS, one_kind
from analysis.data.order import ordered, shown
from analysis.plots.canvas import label, panels
from analysis.question import ComparisonSpec
from analysis.style import label_of, style_of
from analysis.winners import winners
from orchestrator.results.quantities import Better


def winner_map(frame: pd.DataFrame, response: str, origin: str, *, better: Better = "") -> Figure:
    """The best strategy of each cell and its lead; pale where the runs do not settle it."""
    rows = winners(frame, ComparisonSpec(response=response, better=better))
    title = (
        f"Best strategy by {label_of(response)}, {origin}; lead over the second; pale: unsettled"
    )
    figure, made = panels(rows, ("model",), title)
    loads, workloads = ordered(rows["load"]), ordered(rows["workload"])
    for panel in made:
        for cell in panel.rows.to_dict("records"):
            x, y = loads.index(cell["load"]), workloads.index(cell["workload"])
            look = style_of(str(cell["strategy"]))
            alpha = 0.85 if cell["settled"] is True else 0.35
            panel.axes.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, color=look.colour, alpha=alpha)
            )
            panel.axes.text(x, y, _text(cell), ha="center", va="center", fontsize=6.5)
        panel.axes.set_xlim(-0.5, len(loads) - 0.5)
        panel.axes.set_ylim(len(workloads) - 0.5, -0.5)
        panel.axes.set_xticks(range(len(loads)), [shown(level) for level in loads])
        panel.axes.set_yticks(range(len(workloads)), [label(name) for name in workloads])
        panel.axes.set_xlabel(AXIS[one_kind(frame)])
        panel.axes.grid(visible=False)
    names = [str(name) for name in ordered(rows["strategy"])]
    keys = [Patch(color=style_of(name).colour, label=label(name)) for name in names]
    figure.legend(keys, [label(n) for n in names], loc="outside lower center", ncols=len(names))
    return figure


def _text(cell: dict[Hashable, Any]) -> str:
    lead = cell["lead"]
    name = label(cell["strategy"])
    return name if lead is None or pd.isna(lead) else f"{name}\n+{100 * (lead - 1):.0f} %"
