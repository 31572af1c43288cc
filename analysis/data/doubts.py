"""What to know of rows that count: verdicts that nobody gave, failed requests, few requests."""

import re

import pandas as pd

from workloads.figures.metrics import percentile_floor

_PERCENTILE = re.compile(r"(?:steady_|tool_|server_)?p(\d{1,2}(?:_\d+)?)_\w+")


def doubt_notes(frame: pd.DataFrame, response: str) -> tuple[str, ...]:
    """Notes on the rows that an analysis of a response rests on."""
    return (*_unjudged_notes(frame), *failed_notes(frame), *_few_notes(frame, response))


def _unjudged_notes(frame: pd.DataFrame) -> tuple[str, ...]:
    """Say how many rows without a verdict stand beside rows with one: they count as well."""
    blank = frame["verdict"].astype(str) == "" if "verdict" in frame else pd.Series(dtype=bool)
    if blank.all() or not blank.any():
        return ()
    return (
        f"{int(blank.sum())} rows have no verdict and count like the valid ones beside them; "
        "--where verdict=valid takes those",
    )


def failed_notes(frame: pd.DataFrame) -> tuple[str, ...]:
    """Count the rows that had failed requests and have no verdict that says whether they count."""
    if "failed" not in frame:
        return ()
    lost = pd.to_numeric(frame["failed"], errors="coerce") > 0
    if "verdict" in frame:
        lost &= frame["verdict"].astype(str) == ""
    if not lost.any():
        return ()
    return (
        f"{int(lost.sum())} rows with failed requests (column 'failed') and no verdict count like "
        "the others, by the requests that were answered; --where failed=0 takes the rest",
    )


def _few_notes(frame: pd.DataFrame, response: str) -> tuple[str, ...]:
    """Count the runs whose requests are too few to carry a percentile, or are not said."""
    found = _PERCENTILE.fullmatch(response)
    if not found:
        return ()
    floor = percentile_floor(float(found[1].replace("_", ".")))
    counts = [name for name in ("completed", "num_prompts") if name in frame]
    requests = frame[counts].apply(pd.to_numeric, errors="coerce").min(axis=1)
    few, unknown = int((requests < floor).sum()), int(requests.isna().sum())
    told = [f"{few} have fewer"] if few else []
    told += [f"{unknown} do not say how many they had"] if unknown else []
    if not told:
        return ()
    return (f"{response} needs {floor} requests a run: {' and '.join(told)}",)
