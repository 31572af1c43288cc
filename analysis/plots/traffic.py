"""What one run was sent: how long prompts and answers were, and when requests came."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.data.frame import load
from analysis.data.order import ordered
from analysis.data.requests import requests_of
from analysis.data.source_location import source_of
from analysis.data.traffic import MORE, arrivals, gap_variation, shares
from analysis.plots.canvas import keys, label
from analysis.plots.sheet import COLUMNS_IN, SCREEN, Sheet
from catalog.errors import BadFile
from catalog.figure_style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, YELLOW

LENGTHS = (("input_tokens", "prompts", "-"), ("output_tokens", "answers", "--"))
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW, GREY)


def traffic_figure_of(path: Path, run_id: str, sheet: Sheet = SCREEN) -> Figure:
    """Draw the traffic of a run of a results directory."""
    runs = load(path)
    mine = runs[runs["run_id"] == run_id]
    name = " ".join(map(str, mine["workload"][:1])) if "workload" in mine else ""
    return traffic_figure(requests_of(path, run_id, MORE), f"Run {run_id}: {name}", sheet)


def traffic_figure(requests: pd.DataFrame, title: str, sheet: Sheet = SCREEN) -> Figure:
    """Shares of requests up to each length, by class, and requests due and sent over time."""
    if requests.empty:
        raise BadFile(source_of(requests), "a run without requests")
    width = COLUMNS_IN[sheet.columns] if sheet.columns else 8.0
    with mpl.rc_context(sheet.settings):
        figure = Figure(figsize=(width, 3.2))
        lengths, times = figure.subplots(1, 2)
        figure.suptitle(label(title))
    _lengths(lengths, requests)
    _times(times, requests)
    handles, names = lengths.get_legend_handles_labels()
    keys(figure, dict(zip(names, handles, strict=True)), sheet)
    return figure


def _lengths(axes: Axes, requests: pd.DataFrame) -> None:
    parts = ordered(requests["part"]) if "part" in requests else [""]
    for part, colour in zip(parts, COLOURS * len(parts), strict=False):
        rows = requests if len(parts) == 1 else requests[requests["part"] == part]
        for column, name, dash in LENGTHS:
            tokens, share = shares(rows[column])
            if len(tokens):
                told = label(f"{part} {name}".strip())
                tokens, share = np.insert(tokens, 0, tokens[0]), np.insert(share, 0, 0.0)
                axes.step(tokens, share, dash, where="post", color=colour, label=told)
    axes.set_xscale("log")
    axes.set_xlabel("Tokens")
    axes.set_ylabel("Share of requests with no more")


def _times(axes: Axes, requests: pd.DataFrame) -> None:
    for column, name, colour in (("due_s", "due", GREY), ("sent_s", "sent", BLUE)):
        at = arrivals(requests[column], requests["due_s"])
        axes.step(at, np.arange(1, len(at) + 1), where="post", color=colour, label=name)
    axes.legend(frameon=False)
    axes.set_xlabel("Time since the first request was due (s)")
    axes.set_ylabel("Requests so far")
    variation = gap_variation(requests["due_s"])
    if variation is not None:
        axes.set_title(f"Gaps: standard deviation over mean {variation:.2f}")
