"""Is a run worth a claim? Reasons against it, each a code with its numbers and the way out."""

from collections.abc import Mapping, Sequence

from orchestrator.cells import Cell
from workloads.transcript import RequestRow

MOST_FAILED = 0.001
LITTLE_TOLERANCE = 0.02


def reasons_against(
    cell: Cell, rows: Sequence[RequestRow], summary: Mapping[str, float | int | None]
) -> tuple[str, ...]:
    """Check what must hold in every run; what an engine or client finds is added to it."""
    checks = (_conservation, _errors, _lengths)
    return tuple(reason for check in checks if (reason := check(cell, rows, summary)))


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
