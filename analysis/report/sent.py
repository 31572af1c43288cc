"""What the runs of each workload were sent, for the page: one run of each stands for all.

Traffic is drawn from the seed, the same for every strategy, so the first run shows it.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.data.requests import requests_of
from analysis.data.traffic import MORE, SentTraffic, sent_traffic
from catalog.errors import InputError, ResultsError

MOST_WORKLOADS = 12


def sent_traffics(frame: pd.DataFrame, results: Sequence[Path]) -> list[SentTraffic]:
    """Return the traffic of each workload of which a results directory keeps request rows."""
    if "run_id" not in frame or "workload" not in frame:
        return []
    directories, found = [each for each in results if each.is_dir()], []
    for workload, rows in list(frame.groupby("workload", sort=False))[:MOST_WORKLOADS]:
        requests = _first(list(rows["run_id"].dropna()), directories)
        if requests is not None:
            found.append(sent_traffic(str(workload), requests))
    return found


def _first(runs: Sequence[str], directories: Sequence[Path]) -> pd.DataFrame | None:
    for directory in directories:
        for run in runs[:1]:
            try:
                return requests_of(directory, str(run), MORE)
            except (InputError, ResultsError):
                continue
    return None
