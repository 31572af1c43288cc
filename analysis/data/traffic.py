"""What was sent, as numbers: the distribution of lengths and the arrival process of a run."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.data.order import ordered

MORE = ("input_tokens", "output_tokens", "part")
"""Columns of the request table beside the times."""
POINTS = 64
"""Of a curve, at most: more are not seen."""

Reals = NDArray[np.float64]


def shares(tokens: ArrayLike) -> tuple[Reals, Reals]:
    """Return each length that occurs, and the share of requests of known length with no more."""
    known = np.asarray(tokens, np.float64)
    known = known[np.isfinite(known)]
    values, counts = np.unique(known, return_counts=True)
    return values, np.cumsum(counts) / max(1, len(known))


def arrivals(times_s: ArrayLike, due_s: ArrayLike) -> Reals:
    """Return when requests came that did, in order, from when the first was due on."""
    at = np.asarray(times_s, np.float64)
    return np.sort(at[np.isfinite(at)]) - float(np.nanmin(np.asarray(due_s, np.float64)))


def gap_variation(due_s: ArrayLike) -> float | None:
    """Return the gaps' standard deviation over their mean: 1 of a Poisson process, 0 of a clock's.

    None of fewer than two gaps, and where all came at once.
    """
    gaps = np.diff(np.sort(np.asarray(due_s, np.float64)))
    if len(gaps) < 2 or not gaps.mean() > 0:
        return None
    return float(gaps.std() / gaps.mean())


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a drawing 100 wide and 100 high, as SVG's `points` has it."""

    name: str
    points: str


@dataclass(frozen=True, slots=True)
class SentTraffic:
    """What the runs of one workload were sent, in words and in two small drawings."""

    workload: str
    sentence: str
    lengths: tuple[Curve, ...]
    """Shares of requests over tokens, on a logarithmic axis from `least` to `most`."""
    least: float
    most: float
    arrivals: tuple[Curve, ...]
    """Requests over the time, from 0 to `lasted_s`."""
    lasted_s: float


def sent_traffic(workload: str, requests: pd.DataFrame) -> SentTraffic:
    """Describe one run's requests."""
    parts = ordered(requests["part"]) if "part" in requests else [""]
    drawn = [
        (" ".join(filter(None, (str(part), name))), *shares(rows[column]))
        for part in parts
        for rows in [requests if len(parts) == 1 else requests[requests["part"] == part]]
        for column, name in (("input_tokens", "prompts"), ("output_tokens", "answers"))
    ]
    drawn = [each for each in drawn if len(each[1])]
    least = max(1.0, min((tokens[0] for _, tokens, _ in drawn), default=1.0))
    most = max((tokens[-1] for _, tokens, _ in drawn), default=1.0)
    at = arrivals(requests["sent_s"], requests["due_s"])
    lasted_s = float(at[-1]) if len(at) else 0.0
    counts = np.arange(1, len(at) + 1) / max(1, len(at))
    return SentTraffic(
        workload=workload,
        sentence=_sentence(requests, lasted_s),
        lengths=tuple(
            Curve(name, _points(_log_share(tokens, least, most), share))
            for name, tokens, share in drawn
        ),
        least=least,
        most=most,
        arrivals=(Curve("sent", _points(at / lasted_s if lasted_s else at, counts)),),
        lasted_s=lasted_s,
    )


def _log_share(tokens: Reals, least: float, most: float) -> Reals:
    if most <= least:
        return np.full(len(tokens), 0.5)
    return np.asarray(np.log(np.maximum(tokens, least) / least) / np.log(most / least))


def _points(across: Reals, up: Reals) -> str:
    """A staircase from the bottom, thinned to what is seen."""
    if not len(across):
        return ""
    kept = np.unique(np.linspace(0, len(across) - 1, min(POINTS, len(across))).round().astype(int))
    across, up = across[kept], up[kept]
    before = np.concatenate([[0.0], up[:-1]])
    pairs = [
        f"{100 * x:.1f},{100 - 100 * y:.1f}"
        for x, low, high in zip(across, before, up, strict=True)
        for y in (low, high)
    ]
    return " ".join(pairs)


def _sentence(requests: pd.DataFrame, lasted_s: float) -> str:
    told = [f"{len(requests):,} requests in {lasted_s:,.1f} s"]
    for column, name in (("input_tokens", "prompts"), ("output_tokens", "answers")):
        tokens = requests[column].to_numpy(float)
        tokens = tokens[np.isfinite(tokens)]
        if len(tokens):
            low, middle, high = np.percentile(tokens, (10, 50, 90))
            told.append(
                f"{name} of {tokens.mean():,.0f} tokens in the mean (10 % up to {low:,.0f}, half "
                f"up to {middle:,.0f}, 90 % up to {high:,.0f})"
            )
    variation = gap_variation(requests["due_s"])
    if variation is not None:
        told.append(f"gaps between due times with a standard deviation of {variation:.2f} means")
    return "; ".join(told) + "."
