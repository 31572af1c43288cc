"""What is said once of a table of estimates: what priced it, and why its bounds are wider."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from orchestrator.estimate import CELL
from orchestrator.results.record import Row

MOST_NOTES = 3
MIXED = (
    "layouts of one load are priced by different sources: part of what sets them apart is the "
    "sources', not the layouts'"
)


def pricing_notes(rows: Sequence[Row]) -> list[str]:
    """Say which tables of measured kernels were asked, and what of the steps they priced."""
    told = dict.fromkeys((row.get("kernel_tables"), row.get("priced_by")) for row in rows)
    notes = [f"kernels of {name}: {parts}" for name, parts in told if name]
    if len(notes) > MOST_NOTES:
        more = f"{len(notes) - MOST_NOTES} more answers in column priced_by"
        notes = [*notes[:MOST_NOTES], more]
    return [*notes, MIXED] if notes and _mixed(rows) else notes


def outside_notes(rows: Sequence[Row]) -> list[str]:
    """Say, each once, why bounds are wider: what of these rows the calibration has not seen."""
    told = Counter(
        why for row in rows for why in str(row.get("outside_calibration") or "").split("; ") if why
    )
    kept = [why for why, _ in told.most_common(MOST_NOTES)]
    more = f"; {len(told) - MOST_NOTES} more in column outside_calibration"
    if not kept:
        return []
    return [f"bounds are wider: {'; '.join(kept)}{more if len(told) > MOST_NOTES else ''}"]


def _mixed(rows: Iterable[Row]) -> bool:
    """Whether layouts under one load have experts by a table here and by a formula there."""
    priced = defaultdict[tuple[object, ...], set[object]](set)
    for row in rows:
        if row.get("calibration"):
            priced[tuple(row.get(name) for name in CELL)].add(row["calibration"])
    return any(len(each) > 1 for each in priced.values())
