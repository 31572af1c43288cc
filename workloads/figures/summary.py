"""The figures of a run as they are published: a percentile that too few samples carry is empty."""

import functools
import math
import re
from collections.abc import Iterable, Mapping

from workloads.figures.metrics import percentile_floor, summarise
from workloads.figures.steady import steady_window
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
    window = steady_window(run, max_concurrency) or (math.nan, math.nan)
    counts = {"": _samples(done), "steady_": _samples(done.where(done.sent_within(*window)))}
    for name in summary:
        asked = _percentile_in(name)
        if asked is None:
            continue
        within, percentile, metric = asked
        samples = counts[within].get(metric, counts[within]["requests"])
        if samples < percentile_floor(percentile):
            summary[name] = None
    return summary


def _samples(done: Transcript) -> dict[str, int]:
    """Return how many values each latency has: gaps, answers of more than one token, requests."""
    several = int((done.output_tokens > 1).sum())
    return {"requests": len(done), "itl": len(done.gaps_s), "tpot": several}


@functools.cache
def _percentile_in(name: str) -> tuple[str, float, str] | None:
    """Return the window, percentile and metric that a column's name speaks of, if it does."""
    match = PERCENTILE.fullmatch(name)
    return match and (match["window"] or "", float(match["percentile"]), match["metric"])
