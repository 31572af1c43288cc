"""Finds tables whose numbers are in other units than their column names say."""

import re

import pandas as pd

from analysis.data.source_location import refuse_row
from catalog.errors import BadFile

_LATENCY = re.compile(r"(mean|median|std|p\d+)_(ttft|tpot|itl|e2el)(_s|_us|_ns)?")
_OTHER_UNIT = {
    "duration_ms": "duration, in seconds",
    "duration_s": "duration, in seconds",
    "output_throughput_per_min": "output_throughput, per second",
}
# Identities hold within rounding and window definitions; a unit slip is a factor of 1000.
SLIP = 100.0
IDLE = 500.0
"""A closed loop keeps its requests in flight; seconds for milliseconds leave a thousandth."""


def check_units(frame: pd.DataFrame) -> None:
    """Raise BadFile for a column in another unit, or a row that contradicts itself by 100 times."""
    for name in map(str, frame.columns):
        if _LATENCY.fullmatch(name):
            match = _LATENCY.fullmatch(name)
            wanted = f"{match[1]}_{match[2]}_ms" if match else ""
            raise _other_unit(frame, name, f"{wanted}, in milliseconds")
        if name in _OTHER_UNIT:
            raise _other_unit(frame, name, _OTHER_UNIT[name])
    if "unit" in frame and frame["unit"].nunique() > 1:
        row = int((frame["unit"] != frame["unit"].iloc[0]).to_numpy().argmax())
        units = " and ".join(map(repr, frame["unit"].unique()[:2]))
        refuse_row(frame, row, "unit", f"mixed units, {units}")
    _check_latency_order(frame)
    _check_throughput(frame)
    _check_little(frame)


def _other_unit(frame: pd.DataFrame, name: str, wanted: str) -> BadFile:
    file = frame["source_file"].iloc[0] if "source_file" in frame else "table"
    return BadFile(file, f"column {name!r}: the run table has {wanted}; convert and rename it")


def _numeric(frame: pd.DataFrame, *names: str) -> bool:
    return all(n in frame and pd.api.types.is_numeric_dtype(frame[n]) for n in names)


def _check_latency_order(frame: pd.DataFrame) -> None:
    """A request ends after its first token: E2E ≥ TTFT."""
    if not _numeric(frame, "mean_ttft_ms", "mean_e2el_ms"):
        return
    ratio = frame["mean_ttft_ms"] / frame["mean_e2el_ms"]
    _refuse_first(frame, ratio > SLIP, "mean_e2el_ms", "far below mean_ttft_ms")


def _check_throughput(frame: pd.DataFrame) -> None:
    """Tokens over the window are the throughput, whatever the window's definition."""
    if not _numeric(frame, "total_output_tokens", "duration", "output_throughput"):
        return
    ratio = frame["total_output_tokens"] / frame["duration"] / frame["output_throughput"]
    off = (ratio > SLIP) | (ratio < 1 / SLIP)
    _refuse_first(frame, off, "duration", "contradicts total_output_tokens / output_throughput")


def _check_little(frame: pd.DataFrame) -> None:
    """Little's law, L = λ·W: no more requests are in flight than the closed loop allows."""
    if not _numeric(frame, "mean_e2el_ms", "request_throughput", "max_concurrency"):
        return
    in_flight = frame["request_throughput"] * frame["mean_e2el_ms"] / 1e3
    off = in_flight > SLIP * frame["max_concurrency"]
    _refuse_first(frame, off, "mean_e2el_ms", "needs more requests in flight than max_concurrency")
    off = _closed(frame) & (in_flight > 0) & (IDLE * in_flight < _most_in_flight(frame))
    _refuse_first(frame, off, "mean_e2el_ms", "leaves max_concurrency nearly empty")


def _closed(frame: pd.DataFrame) -> pd.Series:
    """Valid closed loops in which no request failed: what failed was in flight as well."""
    found = pd.Series(True, index=frame.index)
    if _numeric(frame, "request_rate"):
        found &= frame["request_rate"].isna()
    if _numeric(frame, "failed"):
        found &= frame["failed"].fillna(0) == 0
    if "verdict" in frame:
        found &= frame["verdict"].astype(str).str.lower().isin(["", "valid"])
    return found


def _most_in_flight(frame: pd.DataFrame) -> pd.Series:
    names = [n for n in ("max_concurrency", "num_prompts", "completed") if _numeric(frame, n)]
    return frame[names].min(axis=1)


def _refuse_first(frame: pd.DataFrame, off: pd.Series, column: str, why: str) -> None:
    if off.any():
        row = int(off.to_numpy().argmax())
        refuse_row(frame, row, column, f"{frame[column].iloc[row]:g} {why}: mixed units?")
