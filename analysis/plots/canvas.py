"""Axes in a grid of models and workloads, with labels that names from files cannot break."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from analysis.data.order import ordered, shown
from analysis.style import style_of
from analysis.tables.render import plain
from catalog.figure_style import FIGURE_SETTINGS

PANEL = (3.4, 2.7)
"""Width and height of one panel, in inches."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes and the rows it shows."""

    axes: Axes
    rows: pd.DataFrame
    title: str


def label(text: object) -> str:
    """A name as it stands: no control characters, no formula between dollar signs."""
    return plain(str(text)).replace("$", r"\$")


def panels(
    rows: pd.DataFrame, by: Sequence[str], title: str, *, across: Sequence[object] = ()
) -> tuple[Figure, list[Panel]]:
    """A panel for each level of the first column across, of the second down."""
    across = across or ordered(rows[by[0]])
    down: list[object] = ordered(rows[by[1]]) if len(by) > 1 else [None]
    with mpl.rc_context(FIGURE_SETTINGS):
        size = (PANEL[0] * len(across), PANEL[1] * len(down) + 0.6)
        figure = Figure(figsize=size)
        grid = figure.subplots(len(down), len(across), squeeze=False)
        figure.suptitle(label(title), fontsize=10)
    made = []
    for i, second in enumerate(down):
        for j, first in enumerate(across):
            here = rows[rows[by[0]] == first]
            here = here if second is None else here[here[by[1]] == second]
            name = label(first) if second is None else f"{label(first)}\n{label(second)}"
            grid[i][j].set_title(name, fontsize=9)
            made.append(Panel(grid[i][j], here, name))
    return figure, made


def strategies(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in ordered(rows["strategy"]):
        yield str(name), rows[rows["strategy"] == name]


def line(axes: Axes, name: str, rows: pd.DataFrame, *, x: str = "load") -> None:
    """Means joined, with bars where there is an interval."""
    look = style_of(name)
    rows = rows.sort_values(x)
    errors = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
    known = rows["low"].notna().any()
    axes.errorbar(
        rows[x],
        rows["mean"],
        yerr=[each.fillna(0).tolist() for each in errors] if known else None,
        color=look.colour,
        marker=look.marker,
        linestyle=look.dash,
        markersize=4,
        capsize=2,
        label=label(name),
    )


def load_axis(axes: Axes, rows: pd.DataFrame, label_text: str) -> None:
    """Doubling loads at equal distances, each level named."""
    levels = [float(str(level)) for level in ordered(rows["load"])]
    axes.set_xscale("log", base=2)
    axes.set_xticks(levels)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(float(value))))
    axes.set_xlabel(label_text)


def legend(figure: Figure, made: Sequence[Panel]) -> None:
    """One legend for all panels, without repeats."""
    found = {
        text: handle
        for panel in made
        for handle, text in zip(*panel.axes.get_legend_handles_labels(), strict=True)
    }
    if found:
        figure.legend(
            list(found.values()), list(found), loc="outside lower center", ncols=len(found)
        )
