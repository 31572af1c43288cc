"""A landscape of techniques: memory across, latency up, perplexity as colour."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.data.read import is_empty
from analysis.data.source_location import source_of
from analysis.landscape.latency import LATENCY
from analysis.landscape.naming import labels_of, name_of
from analysis.landscape.objective import PERPLEXITY
from analysis.landscape.read import numbers, read_landscape, verdicts
from analysis.landscape.units import unit_of
from analysis.plots.axis import log_y, plain_number
from analysis.plots.canvas import label
from analysis.plots.sheet import COLUMNS_IN, SCREEN, Sheet
from catalog.errors import BadFile
from catalog.figure_style import GREY
from catalog.units import GIB, MIB

OUTPUT_LEN = 50
"""Tokens of the answers in Figures 1 and 2 of the design-space paper."""
MEMORY = ("device_memory_bytes", "peak_gpu_memory_bytes", "gpu_memory_mib")
"""What a configuration takes of the device: the first of these that is known."""
WIDE_IN, HIGH_IN = 4.6, 3.6


def landscape_figure_of(
    sources: Sequence[Path], output_len: int = OUTPUT_LEN, sheet: Sheet = SCREEN
) -> Figure:
    """Draw results, tables or published landscapes side by side, each in its own units.

    Latency is TTFT + n · TPOT. A point without perplexity is hollow; numbers lead to the names.
    """
    frames = [_rows(f"{source}", output_len) for source in sources]
    count = len(frames)
    wide = COLUMNS_IN[sheet.columns] if sheet.columns else WIDE_IN * count
    with mpl.rc_context(sheet.settings):
        across = 1 if sheet.columns == 1 else count
        down = -(-count // across)
        figure = Figure(figsize=(wide, HIGH_IN * down))
        axes = figure.subplots(down, across, squeeze=False).flatten()
        for source, frame, each in zip(sources, frames, axes, strict=True):
            each.set_title(label(_title(source.name, frame)), fontsize="medium")
            _panel(figure, each, frame)
            each.set_ylabel(f"Latency of {output_len} tokens (s)")
    return figure


def _rows(source: str, output_len: int) -> pd.DataFrame:
    """One row a configuration that counts and has a memory and a latency."""
    frame = read_landscape(source, output_len=output_len)
    frame = frame[[not text for text in verdicts(frame)]]
    memory = next((name for name in MEMORY if name in frame and not is_empty(frame[name])), None)
    if memory is None:
        raise BadFile(source_of(frame), f"no column of memory: one of {', '.join(MEMORY)}")
    if PERPLEXITY not in frame or is_empty(frame[PERPLEXITY]):
        way = f"no column {PERPLEXITY!r}: moeserve quality {source}"
        raise BadFile(source_of(frame), way)
    unit = unit_of(memory)
    assert unit is not None  # each of them names one
    held = numbers(frame, memory) * unit.scale[unit.of]
    frame = frame.assign(held=held).dropna(subset=["held", LATENCY])
    return frame.sort_values("held", ignore_index=True)


def _title(source: str, frame: pd.DataFrame) -> str:
    models = " ".join(map(str, frame["model"].unique())) if "model" in frame else ""
    return f"{source}: {models}" if models else source


def _panel(figure: Figure, axes: Axes, frame: pd.DataFrame) -> None:
    large = frame["held"].max() >= GIB
    held, judged = frame["held"] / (GIB if large else MIB), frame[PERPLEXITY].notna()
    colours = LogNorm(frame[PERPLEXITY].min(), frame[PERPLEXITY].max())
    points = axes.scatter(
        held[judged], frame[LATENCY][judged], c=frame[PERPLEXITY][judged],
        cmap="viridis_r", norm=colours, s=26, edgecolors=GREY, linewidths=0.5,
    )  # fmt: skip
    axes.scatter(held[~judged], frame[LATENCY][~judged], s=26, facecolors="none", edgecolors=GREY)
    log_y(axes)
    axes.set_xlabel(f"Memory of the device ({'GiB' if large else 'MiB'})")
    _name_points(axes, held, frame)
    bar = figure.colorbar(points, ax=axes, location="bottom", aspect=40, pad=0.02)
    bar.set_label("Perplexity")
    bar.ax.xaxis.set_major_locator(MaxNLocator(5))
    bar.ax.xaxis.set_major_formatter(FuncFormatter(plain_number))
    bar.ax.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def _name_points(axes: Axes, held: pd.Series, frame: pd.DataFrame) -> None:
    """Number the points from small to large, with the names beside the panel."""
    labels = labels_of(frame, (PERPLEXITY, LATENCY, "held", *MEMORY), ())[1]
    lines = []
    for row in range(len(frame)):
        at = (held.iloc[row], frame[LATENCY].iloc[row])
        axes.annotate(
            f"{row + 1}", at, xytext=(3, 2 if row % 2 else -7), textcoords="offset points",
            fontsize="xx-small", color="0.25",
        )  # fmt: skip
        known = pd.notna(frame[PERPLEXITY].iloc[row])
        quality = f"{frame[PERPLEXITY].iloc[row]:.4g}" if known else "unknown"
        lines.append(f"{row + 1}  {label(name_of(frame, row, labels))}: {quality}")
    axes.text(
        1.02, 1.0, "\n".join(lines), transform=axes.transAxes, va="top", fontsize="xx-small",
    )  # fmt: skip
