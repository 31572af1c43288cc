"""A figure of `moeserve qs --sensitivity`: how far the dense twin's lead moves with the system."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from catalog.errors import BadValue
from catalog.figure_style import BLUE, FIGURE_SETTINGS, GREY
from orchestrator.results.record import Row

PANEL = (3.6, 3.0)
"""Inches, a model."""


def sensitivity_figure(rows: Sequence[Row]) -> Figure:
    """Bars from the reference's speedup to that of each changed system, a panel a model."""
    names = list(dict.fromkeys(str(row["model"]) for row in rows))
    with mpl.rc_context(FIGURE_SETTINGS):
        figure = Figure(figsize=(PANEL[0] * len(names), PANEL[1]))
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for panel, name in zip(panels, names, strict=True):
            own = [row for row in rows if row["model"] == name]
            reference, *changed = own
            base = _speedup(reference)
            shown = [row for row in changed if row["speedup"] is not None]
            places = range(len(shown))
            panel.barh(places, [_speedup(row) - base for row in shown], left=base, color=BLUE)
            panel.set_yticks(places, [_label(row) for row in shown])
            panel.invert_yaxis()
            panel.axvline(base, color=GREY, linewidth=1)
            panel.axvline(1.0, color=GREY, linewidth=1, linestyle=":")
            panel.set_xlabel("Dense over MoE, tokens/s")
            panel.set_title(f"{name} (estimated)")
    return figure


def _speedup(row: Row) -> float:
    found = row["speedup"]
    if not isinstance(found, float):
        raise BadValue("--save", str(row["model"]), "a model that fits, as its twin does")
    return found


def _label(row: Row) -> str:
    value = row["value"]
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    times = "" if row["varied"] == "overlap" else "× "
    return f"{str(row['varied']).replace('_', '-')} {times}{text}"
