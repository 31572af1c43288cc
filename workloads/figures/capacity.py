"""What a server carries: the highest load within its limits, the knee, the price, in sentences."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from workloads.figures.goodput import wilson_interval

Row = Mapping[str, Any]
WHO = (
    "provenance", "model", "served_model", "answered_by", "strategy", "technique", "gpu_type",
    "num_gpus", "engine_version", "server_args", "server_env", "endpoint", "request_form",
    "workload", "rate_curve",
)  # fmt: skip
"""Columns that say what carries the load; runs that differ in one are different servers."""
SHOWN = ("model", "strategy", "technique", "request_form", "workload")
FEWEST_FOR_KNEE = 3
LIMITS, TARGET = "goodput_limits", "slo_target"
WORST = "slo_attainment_worst"
PRICE = "usd_per_million_output_tokens"


@dataclass(frozen=True, slots=True)
class Level:
    """The valid runs at one load; replicates are one: their requests are counted together."""

    load: float
    throughput: float
    latency_s: float | None
    """Mean end to end."""
    good: int
    requests: int
    """0 where no limits were given."""
    usd: float | None
    worst: float | None = None
    """Share within the limits of the class of a mix that met them least; None without a mix."""

    @property
    def share(self) -> float:
        return self.good / self.requests if self.requests else 0.0

    def meets(self, target: float) -> bool:
        """Whether so large a share met the limits, of all requests and of every class."""
        least = self.share if self.worst is None else min(self.share, self.worst)
        return bool(self.requests) and least >= target

    @property
    def interval(self) -> str:
        """The share of requests within the limits, with its 95 % Wilson interval."""
        low, high = wilson_interval(self.good, self.requests)
        worst = "" if self.worst is None else f", {self.worst:.1%} of the class that met them least"
        return (
            f"{self.share:.1%} of {self.requests} requests{worst}, 95 % interval {low:.1%} to "
            f"{high:.1%}"
        )


def statements(rows: Iterable[Row], *, fewest: int = 2) -> list[str]:
    """Return one statement for each server and workload that was measured at so many loads.

    Only valid runs count; how many others there were is told.
    """
    return [text for found in by_server(rows) if (text := statement(found, fewest=fewest))]


def by_server(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the runs with a throughput of each server under each workload."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if row.get("output_throughput") is not None:
            found.setdefault(_key(row), []).append(row)
    return list(found.values())


def statement(rows: Sequence[Row], *, fewest: int = 2) -> str:
    """Return the capacity of one server under one workload; "" where it had fewer loads."""
    name, parts = statement_parts(rows, fewest=fewest)
    return f"capacity of {name}: " + "; ".join(parts) if parts else ""


def statement_parts(rows: Sequence[Row], *, fewest: int = 2) -> tuple[str, list[str]]:
    """Return who carries the load, and what is to say of it: the load within limits first."""
    unit = unit_of(rows)
    valid = valid_of(rows)
    name = " ".join(str(rows[0][each]) for each in SHOWN if is_told(rows[0].get(each)))
    asked = {load for row in rows if (load := _load(row, unit)) is not None}
    if len(asked) < fewest:
        return name, []
    left_out = len(rows) - len(valid)
    levels = levels_of(valid, unit)
    if not levels:
        return name, [f"not known, none of {len(rows)} runs is valid"]
    parts = [_within_limits(levels, rows, unit), knee_words(levels, unit)]
    if left_out:
        parts.append(f"{left_out} runs that are not valid are left out")
    return name, [part for part in parts if part]


def valid_of(rows: Sequence[Row]) -> list[Row]:
    """Return the runs that are valid, or that nobody has judged."""
    return [row for row in rows if row.get("verdict", "valid") in ("valid", "", None)]


def levels_of(rows: Sequence[Row], unit: str) -> list[Level]:
    """Return the loads of runs, lowest first."""
    by_load: dict[float, list[Row]] = {}
    for row in rows:
        if (load := _load(row, unit)) is not None:
            by_load.setdefault(load, []).append(row)
    return [_level(load, found) for load, found in sorted(by_load.items())]


def _level(load: float, rows: Sequence[Row]) -> Level:
    limited = [row for row in rows if is_told(row.get("good_requests"))]
    asked = [int(row.get("completed") or 0) + int(row.get("failed") or 0) for row in limited]
    latencies = [row["mean_e2el_ms"] / 1e3 for row in rows if is_told(row.get("mean_e2el_ms"))]
    prices = [row[PRICE] for row in rows if is_told(row.get(PRICE))]
    return Level(
        load=load,
        throughput=fmean(row["output_throughput"] for row in rows),
        latency_s=fmean(latencies) if latencies else None,
        good=sum(int(row["good_requests"]) for row in limited),
        requests=sum(asked),
        usd=fmean(prices) if prices else None,
        worst=min((float(row[WORST]) for row in rows if is_told(row.get(WORST))), default=None),
    )


def highest(levels: Sequence[Level], target: float) -> tuple[Level | None, Level | None]:
    """Return the highest load up to which every one met the limits, and the first that did not."""
    passed: Level | None = None
    for level in levels:
        if not level.meets(target):
            return passed, level
        passed = level
    return passed, None


def knee(levels: Sequence[Level]) -> Level | None:
    """Return the load of most power: throughput over time in the system.

    Kleinrock, «Power and deterministic rules of thumb», ICC 1979. None of fewer than three loads.
    """
    known = [level for level in levels if level.latency_s]
    if len(known) < FEWEST_FOR_KNEE:
        return None
    return max(known, key=lambda level: level.throughput / (level.latency_s or math.inf))


def knee_words(levels: Sequence[Level], unit: str) -> str:
    """Say where the knee is; at an end of what was tried it may lie beyond."""
    found = knee(levels)
    if found is None:
        return ""
    where = f"{found.load:g} {unit}"
    if found is levels[-1]:
        return f"knee (most throughput per second of latency) at {where} or above"
    if found is levels[0]:
        return f"knee (most throughput per second of latency) at {where} or below"
    return f"knee (most throughput per second of latency) at {where}"


def limits_of(rows: Sequence[Row]) -> tuple[str, float]:
    """Return the latency limits of these runs and the share of requests that must meet them."""
    limits = next((str(row[LIMITS]) for row in rows if is_told(row.get(LIMITS))), "the limits")
    target = next((float(row[TARGET]) for row in rows if is_told(row.get(TARGET))), 0.99)
    return limits, target


def _unjudged(rows: Sequence[Row], levels: Sequence[Level], unit: str) -> dict[float, str]:
    """Return the loads that were tried and have no valid run, lowest first, each with why not."""
    known = {level.load for level in levels}
    reasons: dict[float, dict[str, None]] = {}
    for row in rows:
        if (load := _load(row, unit)) is not None and load not in known:
            codes = str(row.get("verdict_reasons") or row["verdict"]).split(";")
            reasons.setdefault(load, {}).update(dict.fromkeys(codes))
    return {load: ", ".join(reasons[load]) for load in sorted(reasons)}


def _within_limits(levels: Sequence[Level], rows: Sequence[Row], unit: str) -> str:
    """Say which loads are within the limits; `levels` are those with a valid run."""
    if not any(level.requests for level in levels):
        best = max(levels, key=lambda level: level.throughput)
        return (
            f"most throughput {_gain(best)} at {best.load:g} {unit}; no limits were given "
            "(--goodput ttft:… tpot:…)"
        )
    limits, target = limits_of(rows)
    within = f"{limits} for {target:.4g} of requests"
    passed, failed = highest(levels, target)
    unjudged = _unjudged(rows, levels, unit)
    if passed is None:
        lowest = levels[0]
        tried = "with a valid run" if any(load < lowest.load for load in unjudged) else "tried"
        return f"no load {tried} is within {within}: {lowest.load:g} {unit} has {lowest.interval}"
    refused = levels_of([row for row in rows if _is_refused(row)], unit)
    beyond = [level for level in refused if level.load in unjudged and level.load > passed.load]
    first = next((level for level in beyond if not level.meets(target)), None)
    return (
        f"highest load within {within}: {passed.load:g} {unit} ({passed.interval}), "
        f"{_border(passed.load, failed, first, unjudged)}; {_gain(passed)} there"
    )


def _is_refused(row: Row) -> bool:
    """Tell a run that is not valid because requests failed, and for nothing else."""
    return set(str(row.get("verdict_reasons") or "").split(";")) <= {"ERRORS", "ZERO_TOKENS"}


def _border(
    passed: float, failed: Level | None, refused: Level | None, unjudged: Mapping[float, str]
) -> str:
    """Say where the highest load within the limits ends: known, not known, or not looked for."""
    if refused and (failed is None or refused.load < failed.load):
        return f"the border is between {passed:g} and {refused.load:g}, where requests failed"
    if failed:
        return f"the border is between {passed:g} and {failed.load:g}"
    if above := [f"{load:g}: {why}" for load, why in unjudged.items() if load > passed]:
        untold = f"of the loads above it none has a valid run ({'; '.join(above)})"
        return f"{untold}, so the border is not known"
    return "the highest that was tried, so the border may be above"


def _gain(level: Level) -> str:
    price = "$ unknown (--gpus and --price-per-hour)"
    if level.usd is not None:
        price = f"${level.usd:.3g} per million output tokens"
    return f"{level.throughput:,.1f} tokens/s, {price}"


def unit_of(rows: Sequence[Row]) -> str:
    """Return the unit of these runs' loads: an open loop has a rate."""
    rates = any(is_told(row.get("request_rate")) for row in rows)
    return "requests/s" if rates else "concurrent requests"


def _load(row: Row, unit: str) -> float | None:
    value = row.get("request_rate" if unit == "requests/s" else "max_concurrency")
    return float(value) if value is not None and is_told(value) else None


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row[name] if is_told(row.get(name)) else "" for name in WHO)


def is_told(value: object) -> bool:
    """Whether a cell says something: neither missing nor «none»."""
    return value not in (None, "", "none") and value == value
