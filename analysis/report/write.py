"""From results on disk to the page on disk."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from analysis.data.arms import by_provenance, models_apart, with_arms
from analysis.data.conditions import NOTHING_SAID, Pooling
from analysis.data.frame import load, require
from analysis.data.order import ordered
from analysis.data.own_names import NO_OWN_NAMES, OwnNames
from analysis.data.reached import reached
from analysis.data.requests import LatencyCounts, count_latencies
from analysis.data.source_location import source_of
from analysis.data.where import where
from analysis.report.carried import carried, records
from analysis.report.group import group_of
from analysis.report.origin import origins
from analysis.report.page import Page, render
from analysis.report.payload import payload_of
from analysis.report.sent import sent_traffics
from analysis.report.sentences import agreement_sentences
from analysis.report.validity import validity_of
from catalog.errors import BadValue
from orchestrator.host.files import write_durably

LABELS = ("model", "workload", "strategy", "technique")
MOST_LABELS = 2_000
"""Of all of them together; the largest studies that were published have some hundreds."""
ARMS_NEED = ("model", "strategy", "workload", "output_throughput")


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What the reader asks for."""

    title: str = ""
    reference: str | None = None
    margin: float = 0.03
    pooling: Pooling = NOTHING_SAID
    where: tuple[str, ...] = ()
    """Rows to take: `COLUMN=VALUE`."""
    unfinished: str = ""
    """In words what is missing of the study; empty where nothing is known to be."""
    own: OwnNames = NO_OWN_NAMES
    """Columns of other names, and what is the same in all rows."""


def write_report(
    results: Sequence[Path], output: Path, options: ReportOptions | None = None
) -> Path:
    """Write the page and return its path."""
    check_output(output)
    options = options or ReportOptions()
    frame = where(load(*results, own=options.own), options.where)
    counts = count_latencies(results, list(frame.get("run_id", pd.Series(dtype=str))))
    text = report_html(frame, options, counts=counts, results=results)
    try:
        write_durably(output, text.encode())
    except OSError as error:
        raise BadValue("-o", str(output), f"a writable file: {error.strerror}") from error
    return output


def check_output(output: Path, *, flag: str = "-o") -> None:
    """Refuse a name that is no page's, or that cannot be written."""
    if output.suffix.lower() not in {".html", ".htm"}:
        raise BadValue(flag, str(output), "a file name that ends in .html")
    if not output.parent.is_dir():
        raise BadValue(flag, str(output), f"a file in a folder that exists, not {output.parent}")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise BadValue(flag, str(output), "a writable file: may not be written")


def report_html(
    frame: pd.DataFrame,
    options: ReportOptions | None = None,
    *,
    counts: LatencyCounts | None = None,
    results: Sequence[Path] = (),
) -> str:
    """The page of a frame; `counts` and `results` add what only directories hold."""
    options = options or ReportOptions()
    require(frame, ARMS_NEED)
    _check_size(frame)
    groups, parts = [], []
    for name, rows in by_provenance(with_arms(frame)):
        part, notes = models_apart(rows, options.pooling)
        made = group_of(part, name, options.reference, options.margin)
        groups.append(replace(made, notes=[*made.notes, *notes]))
        parts.append(part)
    arms = pd.concat(parts)
    lines = carried(records(reached(arms)[0]))
    page = Page(
        title=options.title or _title(arms),
        groups=groups,
        validity=validity_of(arms, counts),
        origins=origins(results),
        results=[path.name or str(path) for path in results],
        margin=options.margin,
        carried=bool(lines),
        sent=sent_traffics(arms, results),
        agreement=agreement_sentences(with_arms(frame)),
        unfinished=options.unfinished,
    )
    return render(page, payload_of(arms, groups, counts, lines))


def _check_size(frame: pd.DataFrame) -> None:
    """Refuse a page that nobody could read, before minutes go into it."""
    names = [name for name in LABELS if name in frame]
    labels = len(frame[names].drop_duplicates())
    if labels > MOST_LABELS:
        allowed = f"at most {MOST_LABELS:,} on one page: choose with --where model=…"
        told = f"{labels:,} of {', '.join(names)} together"
        raise BadValue("report", told, allowed, where=source_of(frame))


def _title(frame: pd.DataFrame) -> str:
    models = [str(name) for name in ordered(frame["model"])]
    shown = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
    alone = frame["strategy"].nunique() < 2
    return f"What {shown} carries" if alone else f"How to lay out {shown}"
