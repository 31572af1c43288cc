"""The figures of a run as they are published: a percentile that too few samples carry is empty."""

import functools
import re
from collections.abc import Iterable, Mapping

from workloads.figures.metrics import percentile_floor, summarise
from workloads.transcript import RequestRow, Transcript

PERCENTILE = re.compile(r"(?P<window>steady_)?p(?P<percentile>\d+)_(?P<metric>[a-z0-9]+)_.*ms")


def figures_of(
    rows: Iterable[RequestRow] | Transcript,
    *,
    goodput: Mapping[str, float],
    max_concurrency: int | None,
    percentiles_of_few: bool = False,
) -> dict[str, float | int | None]:
    """Summarise rows; a percentile of fewer samples than can carry it is empty, not guessed.

    Imported runs keep them (`percentiles_of_few`), as the summaries of other tools do.
    """
    run = Transcript.of(rows)
    summary = summarise(run, goodput=goodput or None, max_concurrency=max_concurrency)
    if percentiles_of_few:
        return summary
    done = run.completed
    counts = {"itl": len(done.gaps_s)}
    requests = {"": len(done), "steady_": int(summary["steady_requests"] or 0)}
    for name in summary:
        asked = _percentile_in(name)
        if asked is None:
            continue
        window, percentile, metric = asked
        if counts.get(metric, requests[window]) < percentile_floor(percentile):
            summary[name] = None
    return summary


@functools.cache
def _percentile_in(name: str) -> tuple[str, float, str] | None:
    """Return the window, percentile and metric that a column's name speaks of, if it does."""
    match = PERCENTILE.fullmatch(name)
    return match and (match["window"] or "", float(match["percentile"]), match["metric"])
