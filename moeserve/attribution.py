"""What `estimate --breakdown` says below its table: where each step's time goes, a line a step."""

from collections.abc import Sequence

from orchestrator.results.record import Row

MOST_STEPS = 12
STEP = (
    "model", "strategy", "technique", "gpu_type", "workload", "max_concurrency", "step",
)  # fmt: skip
"""What tells one step of a breakdown from another."""


def attribution_notes(rows: Sequence[Row]) -> list[str]:
    """HBM, computing and exposed communication a token, in the qs paper's relative units."""
    steps: dict[tuple[object, ...], Row] = {}
    for row in rows:
        steps.setdefault(tuple(row.get(name) for name in STEP), row)
    if len(steps) > MOST_STEPS:
        return [f"where the time of {len(steps)} steps goes: columns hbm_units and the like"]
    notes = []
    for row in steps.values():
        at = row["max_concurrency"]
        load = f"{row['workload']} at {at}" if at else str(row["workload"])
        notes.append(
            f"{row['step']}, {row['model']} {row['strategy']}, {load}: HBM {row['hbm_units']:.3g}, "
            f"computing {row['compute_units']:.3g}, exposed communication "
            f"{row['communication_units']:.3g} a token"
        )
    return [*notes, "units: of computing a token of the first such step; each part taken alone"]
