"""What each server carries: as the answer where one is all there is, and as a table."""

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from analysis.answer.answer import alone, only
from analysis.data.order import ordered, rank
from analysis.data.reached import reached
from analysis.gpus import gpus_text
from analysis.report.advice import Advice
from analysis.tables.render import number
from workloads.figures.capacity import (
    SHOWN,
    Level,
    Row,
    by_server,
    highest,
    is_told,
    knee,
    levels_of,
    limits_of,
    statement_parts,
    unit_of,
    valid_of,
)

HEADINGS = {"model": "Model", "strategy": "Strategy", "technique": "Technique",
            "request_form": "Asked as", "workload": "Workload"}  # fmt: skip
JOULES = "joules_per_output_token"


def carried(rows: Sequence[Row]) -> list[dict[str, object]]:
    """One line for each server and workload with a valid run at two loads or more."""
    return [line for found in sorted(by_server(rows), key=_order) if (line := _line(found))]


def records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as the figures of capacity read them: None for what is not known."""
    kept = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in kept]


def capacity_answers(rows: pd.DataFrame) -> list[Advice]:
    """What one strategy carries: with nothing beside it, its capacity is the question."""
    beside = f"{_upper(only(rows))}: for a choice between layouts run another beside it."
    found = [statement_parts(server) for server in by_server(records(reached(rows)[0]))]
    answers = [
        Advice(
            name,
            f"{_upper(parts[0])}.",
            " ".join(f"{_upper(part)}." for part in parts[1:]),
            (beside,),
        )
        for name, parts in found
        if parts
    ]
    apart = [rows[rows["model"] == model] for model in ordered(rows["model"])]
    return answers or [
        Advice(str(r["model"].iloc[0]), f"{_upper(alone(r))}.", "", ()) for r in apart
    ]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _order(rows: Sequence[Row]) -> list[tuple[int, float, str]]:
    return [rank(rows[0].get(name) or "") for name in SHOWN]


def _line(rows: Sequence[Row]) -> dict[str, object] | None:
    unit, valid = unit_of(rows), valid_of(rows)
    levels = levels_of(valid, unit)
    if len(levels) < 2:
        return None
    best, bend = max(levels, key=lambda level: level.throughput), knee(levels)
    names = {HEADINGS[name]: _text(rows[0].get(name)) for name in SHOWN}
    return {
        **names,
        "GPUs": gpus_text(rows[0].get("num_gpus"), rows[0].get("gpu_type")),
        **_within(levels, valid),
        "Most tokens/s": best.throughput,
        f"at {unit}": best.load,
        "Knee": bend.load if bend else None,
        "$ per million output tokens there": best.usd,
        "J per output token there": _energy(valid, best, unit),
    }


def _within(levels: Sequence[Level], rows: Sequence[Row]) -> dict[str, str]:
    if not any(level.requests for level in levels):
        return {"Highest load within the limits": "", "Limits": ""}
    limits, target = limits_of(rows)
    passed, failed = highest(levels, target)
    if passed is None:
        text = f"none tried; {levels[0].load:g} has {levels[0].share:.1%}"
    else:
        more = f", {failed.load:g} is not" if failed else " or above"
        text = f"{passed.load:g}{more} ({number(passed.throughput)} tokens/s)"
    return {
        "Highest load within the limits": text,
        "Limits": f"{limits} for {100 * target:g} % of requests",
    }


def _energy(rows: Sequence[Row], best: Level, unit: str) -> float | None:
    column = "request_rate" if unit == "requests/s" else "max_concurrency"
    here = [row for row in rows if row.get(column) == best.load]
    known = [float(row[JOULES]) for row in here if is_told(row.get(JOULES))]
    return fmean(known) if known and len(known) == len(here) else None


def _text(value: object) -> str:
    return str(value) if is_told(value) else ""
