"""The paper's Figures 2 to 4, drawn from this device's rows."""

from collections.abc import Iterable, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from catalog.figure_style import (
    BLUE,
    FIGURE_SETTINGS,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
)
from microbench.rows import PointRow
from microbench.slices import by_backend, median_ms, timed

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
PANEL = (3.6, 3.0)
LABELS = {
    "intermediate": "Expert intermediate size",
    "batch": "Decode batch size",
    "active_experts": "Active experts",
}
SHORT = {"intermediate": "width", "batch": "batch", "active_experts": "active experts"}


def figure2(rows: Sequence[PointRow]) -> Figure:
    """Latency against width, a line a batch, all experts active."""
    return _by_backend(_most(rows, "active_experts"), "intermediate", "batch")


def figure4(rows: Sequence[PointRow]) -> Figure:
    """Latency against active experts, a line a width, at the largest batch."""
    return _by_backend(_most(rows, "batch"), "active_experts", "intermediate")


def figure3(rows: Sequence[PointRow]) -> Figure:
    """Latency against batch at the narrowest and the widest, a line a backend."""
    own = _most(_alike(rows), "active_experts")
    widths = sorted({row.intermediate for row in own})
    ends = sorted({widths[0], widths[-1]})
    figure, axes = _panels(rows, [f"width {width}" for width in ends])
    for panel, width in zip(axes, ends, strict=True):
        here = [row for row in own if row.intermediate == width]
        for i, (name, members) in enumerate(by_backend(here).items()):
            _line(panel, members, "batch", (name, i))
        _finish(panel, "batch", here)
    return figure


FIGURES = {"figure2": figure2, "figure3": figure3, "figure4": figure4}


def _by_backend(rows: Sequence[PointRow], x: str, line: str) -> Figure:
    own = by_backend(_alike(rows))
    figure, axes = _panels(rows, list(own))
    for panel, members in zip(axes, own.values(), strict=True):
        for i, value in enumerate(sorted({getattr(row, line) for row in members})):
            here = [row for row in members if getattr(row, line) == value]
            _line(panel, here, x, (f"{SHORT[line]} {value}", i))
        _finish(panel, x, members)
    return figure


def _alike(rows: Iterable[PointRow]) -> list[PointRow]:
    """Rows of one model: the first type, hidden size, top-k and the largest expert count."""
    own = timed(list(rows))
    for size, choose in (("dtype", min), ("hidden", max), ("experts", max), ("top_k", max)):
        chosen = choose(getattr(row, size) for row in own)
        own = [row for row in own if getattr(row, size) == chosen]
    return own


def _most(rows: Sequence[PointRow], size: str) -> list[PointRow]:
    """Only the largest value of a size."""
    most = max(getattr(row, size) for row in rows)
    return [row for row in rows if getattr(row, size) == most]


def _panels(rows: Sequence[PointRow], titles: Sequence[str]) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context(FIGURE_SETTINGS):
        figure = Figure(figsize=(PANEL[0] * len(titles), PANEL[1] + 0.5))
        axes = list(figure.subplots(1, len(titles), squeeze=False)[0])
        first = _alike(rows)[0]
        figure.suptitle(
            f"Expert MLP, one decode step: {first.experts} experts, top-{first.top_k}, hidden "
            f"{first.hidden}, {first.dtype}, {first.device}, {first.routing} routing, measured",
            fontsize=9,
        )
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title, fontsize=9)
    return figure, axes


def _line(axes: Axes, rows: Sequence[PointRow], x: str, named: tuple[str, int]) -> None:
    """Medians with their 95 % intervals; dashed, what the measured ceilings allow."""
    name, number = named
    rows = sorted(rows, key=lambda row: int(getattr(row, x)))
    at = [int(getattr(row, x)) for row in rows]
    middle = [median_ms(row) for row in rows]
    low = [median_ms(row) - (row.median_low_ms or median_ms(row)) for row in rows]
    high = [(row.median_high_ms or median_ms(row)) - median_ms(row) for row in rows]
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    axes.errorbar(
        at, middle, yerr=[low, high], color=colour, marker=marker, markersize=4, capsize=2,
        label=name,
    )  # fmt: skip
    axes.plot(at, [row.roofline_ms for row in rows], color=colour, linestyle=":", linewidth=1)


def _finish(axes: Axes, x: str, rows: Sequence[PointRow]) -> None:
    levels = sorted({int(getattr(row, x)) for row in rows})
    if x != "intermediate":
        axes.set_xscale("log", base=2)
        axes.set_xticks(levels)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(LABELS[x])
    axes.set_ylabel("Median latency (ms); dotted: roofline")
    axes.legend(fontsize=7)
