"""Axes in a grid of models and workloads, with labels that names from files cannot break."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis.data.order import ordered
from analysis.gpus import gpus_of
from analysis.plots.axis import plain_number
from analysis.plots.sheet import CHARACTER, PANEL, SCREEN, Room, Sheet
from analysis.style import style_of
from analysis.tables.render import plain

KEY_IN = 0.5
"""Room of a legend's line and mark."""
TITLE = 0.7
"""Share of a panel's width that is over its axes."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes and the rows it shows."""

    axes: Axes
    rows: pd.DataFrame
    title: str


def label(text: object) -> str:
    """A name as it stands: no control characters, no formula between dollar signs."""
    return plain(str(text)).replace("$", r"\$")


def label_lines(texts: Iterable[str]) -> str:
    """Names below each other, each as it stands."""
    return "\n".join(label(line) for text in texts for line in text.split("\n"))


def panels(
    rows: pd.DataFrame,
    by: Sequence[str],
    title: str,
    *,
    across: Sequence[object] = (),
    sheet: Sheet = SCREEN,
    room: Room = PANEL,
) -> tuple[Figure, list[Panel]]:
    """A panel for each level of the first column across, of the second down."""
    across = across or ordered(rows[by[0]])
    down: list[object] = ordered(rows[by[1]]) if len(by) > 1 else [None]
    wide, high = sheet.grid(len(across), len(down), room)
    with mpl.rc_context(sheet.settings):
        size = sheet.size_in(wide, high, room)
        figure = Figure(figsize=size)
        every = figure.subplots(high, wide, squeeze=False).flatten()
        points = float(mpl.rcParams["font.size"])
        figure.suptitle(
            label_lines([sheet.wrapped(title, points + 1, size[0])]), fontsize=points + 1
        )
    made = []
    for axes, (first, second) in zip(every, ((f, s) for s in down for f in across), strict=False):
        here = rows[rows[by[0]] == first]
        here = here if second is None else here[here[by[1]] == second]
        names = (each for each in (first, second) if each is not None)
        lines = (sheet.wrapped(str(each), points, TITLE * size[0] / wide) for each in names)
        name = label_lines(lines)
        axes.set_title(name, fontsize=points)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(plain_number))
        made.append(Panel(axes, here, name))
    for axes in every[len(made) :]:
        axes.remove()
    return figure, made


def name_axes(figure: Figure, made: Sequence[Panel], *, x: str = "", y: str = "") -> None:
    """Name what all panels have on their axes: below the lowest of each column, and left once."""
    if len(made) == 1:
        made[0].axes.set(xlabel=x, ylabel=y)
        return
    figure.supylabel(y, fontsize="medium")
    grid = made[0].axes.get_gridspec()
    columns = grid.ncols if grid else 1
    width_in = TITLE * figure.get_size_inches()[0] / columns
    name = SCREEN.wrapped(x, float(mpl.rcParams["font.size"]), width_in)
    for panel in made[-columns:]:
        panel.axes.set_xlabel(name)


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


def legend(
    figure: Figure, made: Sequence[Panel], frame: pd.DataFrame, *, sheet: Sheet = SCREEN
) -> None:
    """One legend for all panels, without repeats; `frame` says on which GPUs each strategy ran."""
    found = {
        text: handle
        for panel in made
        for handle, text in zip(*panel.axes.get_legend_handles_labels(), strict=True)
    }
    named = {label(name): f", {text}" for name, text in gpus_of(frame).items() if text}
    keys(figure, {f"{text}{label(named.get(text, ''))}": key for text, key in found.items()}, sheet)


def keys(figure: Figure, found: Mapping[str, Artist], sheet: Sheet = SCREEN) -> None:
    """Put keys and their texts below the panels, in as many columns as the figure has room for."""
    if not found:
        return
    with mpl.rc_context(sheet.settings):
        size_in = float(mpl.rcParams["font.size"]) / 72
        widest = KEY_IN + CHARACTER * size_in * max(map(len, found))
        fit = max(1, int(figure.get_size_inches()[0] / widest))
        columns = min(len(found), fit)
        figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns)
