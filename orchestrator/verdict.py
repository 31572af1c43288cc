"""Is a run worth a claim? Reasons against it, each a code with its numbers and the way out."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cells import Cell
from workloads.server_metrics import disagreements
from workloads.transcript import RequestRow

MOST_FAILED = 0.001
NOTES = frozenset({"SERVER_DISAGREES", "CONCURRENCY_NOT_REACHED", "PREEMPTED"})
"""Codes that tell a reader something without making the run invalid."""
MOST_CACHED = 0.01


def reasons_against(
    cell: Cell, rows: Sequence[RequestRow], figures: Mapping[str, Any]
) -> tuple[str, ...]:
    """Check what must hold in every run; what an engine or client finds is added to it."""
    checks = (_conservation, _errors, _lengths, _warm_cache, _unreached, _preempted)
    found = tuple(reason for check in checks if (reason := check(cell, rows, figures)))
    return (*found, *disagreements(figures, figures))


def _warm_cache(_cell: Cell, _rows: object, figures: Mapping[str, Any]) -> str | None:
    queries, hits = (figures.get(f"server_prefix_cache_{each}") for each in ("queries", "hits"))
    if not queries or not hits or hits / queries <= MOST_CACHED:
        return None
    return (
        f"CACHE_WARM: {hits / queries:.0%} of the prompt tokens came from the prefix cache; start "
        "the server with --no-enable-prefix-caching"
    )


def _unreached(cell: Cell, _rows: object, _figures: object) -> str | None:
    asked = cell.load.max_concurrency
    if asked is None or cell.num_prompts >= asked:
        return None
    return (
        f"CONCURRENCY_NOT_REACHED: {cell.num_prompts} prompts never are {asked} in flight; "
        "--num-prompts auto holds the concurrency"
    )


def _preempted(_cell: Cell, _rows: object, figures: Mapping[str, Any]) -> str | None:
    count = figures.get("preemptions") or figures.get("server_preemptions")
    return f"PREEMPTED: {count:.0f} times for want of KV cache" if count else None


def _conservation(cell: Cell, rows: Sequence[RequestRow], _: object) -> str | None:
    if len(rows) == cell.num_prompts and len({row.request for row in rows}) == len(rows):
        return None
    return f"INCOMPLETE: {len(rows)} of {cell.num_prompts} requests are accounted for"


def _errors(_cell: Cell, rows: Sequence[RequestRow], _: object) -> str | None:
    failed = [row for row in rows if row.status == "failed"]
    if len(failed) <= MOST_FAILED * len(rows):
        return None
    classes = sorted({row.error_class for row in failed})
    return f"ERRORS: {len(failed)} of {len(rows)} requests failed ({', '.join(classes)})"


def _lengths(cell: Cell, rows: Sequence[RequestRow], _: object) -> str | None:
    asked = cell.workload.output_len
    done = [row.output_tokens for row in rows if row.status == "ok"]
    if not done:
        return "ZERO_TOKENS: no request completed"
    wrong = sum(tokens != asked for tokens in done)
    if not wrong:
        return None
    return (
        f"LENGTH_MISMATCH: {wrong} of {len(done)} answers do not have the {asked} tokens asked "
        "for; the server must honour ignore_eos and max_tokens"
    )
