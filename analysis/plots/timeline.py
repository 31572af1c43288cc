"""Every request of one run as a bar: waiting, first token, the rest."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from analysis.data.frame import load, require
from analysis.data.requests import requests_of
from analysis.data.source_location import source_of
from analysis.plots.canvas import label
from catalog.errors import BadFile
from catalog.figure_style import BLUE, FIGURE_SETTINGS, GREY, ORANGE, VERMILLION

NEEDS = ("request", "due_s", "sent_s", "first_token_s", "done_s", "status")
MOST_REQUESTS = 2000


def timeline_of(path: Path, run_id: str) -> Figure:
    """Draw a run of a results directory."""
    runs = load(path)
    origin = runs.loc[runs["run_id"] == run_id, "provenance"]
    return timeline(requests_of(path, run_id), run_id, "".join(origin[:1]))


def timeline(requests: pd.DataFrame, run_id: str, origin: str) -> Figure:
    """Due to sent, sent to first token, first token to done; failed requests stand out."""
    require(requests, NEEDS)
    rows = requests.sort_values("due_s").head(MOST_REQUESTS).reset_index(drop=True)
    if rows.empty:
        raise BadFile(source_of(requests), f"run {run_id!r} has no requests")
    start = rows["due_s"].min()
    with mpl.rc_context(FIGURE_SETTINGS):
        figure = Figure(figsize=(8, 1.5 + min(6.0, 0.08 * len(rows) + 1)))
        axes = figure.subplots()
    spans = (
        ("due_s", "sent_s", "waiting in the client", ORANGE),
        ("sent_s", "first_token_s", "to the first token", GREY),
        ("first_token_s", "done_s", "streaming tokens", BLUE),
    )
    for begin, end, name, colour in spans:
        width = (rows[end] - rows[begin]).fillna(0)
        left = (rows[begin] - start).fillna(0)
        axes.barh(rows.index, width, left=left, color=colour, height=0.8, label=name)
    failed = rows[rows["status"] != "ok"]
    if len(failed):
        at = failed["done_s"].fillna(failed["due_s"]) - start
        axes.scatter(at, failed.index, marker="x", color=VERMILLION, label="failed", zorder=3)
    axes.invert_yaxis()
    axes.set_xlabel("Time since the first request was due (s)")
    axes.set_ylabel("Request, by due time")
    shown = f"first {MOST_REQUESTS} of {len(requests)}" if len(requests) > MOST_REQUESTS else "all"
    axes.set_title(label(f"Run {run_id}, {origin}: {shown} requests"), fontsize=10)
    figure.legend(loc="outside lower center", ncols=4)
    return figure
