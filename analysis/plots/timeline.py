"""Every request of one run as a bar: waiting, first token, the rest."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from analysis.data.frame import load, require
from analysis.data.requests import requests_of
from analysis.data.source_location import source_of
from analysis.plots.canvas import keys, label
from analysis.plots.sheet import COLUMNS_IN, SCREEN, Sheet
from catalog.errors import BadFile
from catalog.figure_style import BLUE, GREY, ORANGE, VERMILLION

NEEDS = ("request", "due_s", "sent_s", "first_token_s", "done_s", "status")
MOST_REQUESTS = 2000


def timeline_of(path: Path, run_id: str, sheet: Sheet = SCREEN) -> Figure:
    """Draw a run of a results directory."""
    runs = load(path)
    origin = runs.loc[runs["run_id"] == run_id, "provenance"]
    return timeline(requests_of(path, run_id), run_id, "".join(origin[:1]), sheet)


def timeline(requests: pd.DataFrame, run_id: str, origin: str, sheet: Sheet = SCREEN) -> Figure:
    """Due to sent, sent to first token, first token to done; failed requests stand out."""
    require(requests, NEEDS)
    rows = requests.sort_values("due_s").head(MOST_REQUESTS).reset_index(drop=True)
    if rows.empty:
        raise BadFile(source_of(requests), f"run {run_id!r} has no requests")
    start = rows["due_s"].min()
    width = COLUMNS_IN[sheet.columns] if sheet.columns else 8.0
    with mpl.rc_context(sheet.settings):
        figure = Figure(figsize=(width, 1.5 + min(6.0, 0.08 * len(rows) + 1)))
        axes = figure.subplots()
    spans = (
        ("due_s", "sent_s", "waiting in the client", ORANGE),
        ("sent_s", "first_token_s", "to the first token", GREY),
        ("first_token_s", "done_s", "streaming tokens", BLUE),
    )
    for begin, end, name, colour in spans:
        took = (rows[end] - rows[begin]).fillna(0)
        left = (rows[begin] - start).fillna(0)
        axes.barh(rows.index, took, left=left, color=colour, height=0.8, label=name)
    failed = rows[rows["status"] != "ok"]
    if len(failed):
        at = failed["done_s"].fillna(failed["due_s"]) - start
        axes.scatter(at, failed.index, marker="x", color=VERMILLION, label="failed", zorder=3)
    axes.invert_yaxis()
    axes.set_xlabel("Time since the first request was due (s)")
    axes.set_ylabel("Request, by due time")
    shown = f"first {MOST_REQUESTS} of {len(requests)}" if len(requests) > MOST_REQUESTS else "all"
    title = sheet.wrapped(f"Run {run_id}, {origin}: {shown} requests", 10, width)
    axes.set_title(label(title), fontsize="medium")
    handles, names = axes.get_legend_handles_labels()
    keys(figure, dict(zip(map(str, names), handles, strict=True)), sheet)
    return figure
