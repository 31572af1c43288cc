"""From results on disk to the page on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.frame import load, require
from analysis.order import ordered
from analysis.report.group import group_of
from analysis.report.origin import origins
from analysis.report.page import Page, render
from analysis.report.payload import payload_of
from analysis.report.validity import validity_of
from analysis.report.words import agreement_sentences
from analysis.requests import LatencyCounts, count_latencies
from catalog.errors import BadValue
from orchestrator.files import write_durably

ARMS_NEED = ("model", "strategy", "workload", "output_throughput")


@dataclass(frozen=True, slots=True)
class Options:
    """What the reader asks for."""

    title: str = ""
    reference: str | None = None
    margin: float = 0.03


def write_report(results: Sequence[Path], output: Path, options: Options | None = None) -> Path:
    """Write the page and return its path."""
    if output.suffix.lower() not in {".html", ".htm"}:
        raise BadValue("-o", str(output), "a file name that ends in .html")
    if not output.parent.is_dir():
        raise BadValue("-o", str(output), f"a file in a folder that exists, not {output.parent}")
    frame = load(*results)
    counts = count_latencies(results, list(frame.get("run_id", pd.Series(dtype=str))))
    text = report_html(frame, options or Options(), counts=counts, results=results)
    try:
        write_durably(output, text.encode())
    except OSError as error:
        raise BadValue("-o", str(output), f"a writable file: {error.strerror}") from error
    return output


def report_html(
    frame: pd.DataFrame,
    options: Options | None = None,
    *,
    counts: LatencyCounts | None = None,
    results: Sequence[Path] = (),
) -> str:
    """The page of a frame; `counts` and `results` add what only directories hold."""
    options = options or Options()
    require(frame, ARMS_NEED)
    arms = with_arms(frame)
    groups = [group_of(rows, name, options.reference, options.margin) for name, rows in split(arms)]
    page = Page(
        title=options.title or _title(arms),
        groups=groups,
        validity=validity_of(arms, counts),
        origins=origins(results),
        results=[path.name or str(path) for path in results],
        margin=options.margin,
        agreement=agreement_sentences(arms),
    )
    return render(page, payload_of(arms, groups, counts))


def split(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Rows by provenance, measured first: each is analysed alone."""
    if "provenance" not in frame:
        return [("unstated", frame)]
    names = frame["provenance"].astype(str).replace("", "unstated")
    first = ("measured", "imported", "simulated", "unstated")
    order = sorted(set(names), key=lambda name: (first.index(name) if name in first else 9, name))
    return [(name, frame[names == name]) for name in order]


def with_arms(frame: pd.DataFrame) -> pd.DataFrame:
    """Name an arm by strategy and technique where there are several techniques."""
    if "technique" not in frame or frame["technique"].nunique() < 2:
        return frame
    technique = frame["technique"].astype(str)
    plain = technique.isin(["", "none"])
    return frame.assign(
        strategy=frame["strategy"].where(plain, frame["strategy"] + " · " + technique),
        technique="",
    )


def _title(frame: pd.DataFrame) -> str:
    models = [str(name) for name in ordered(frame["model"])]
    shown = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
    return f"How to lay out {shown}"
