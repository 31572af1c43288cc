"""The line t = t₀ + bytes / BW for each backend, beside the ceiling it should come near."""

import statistics
from collections.abc import Sequence

import msgspec

from catalog.units import GB, MS_PER_S
from microbench.fit import fit_line
from microbench.rows import PointRow
from microbench.slices import by_backend, median_ms, timed


class FitRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backend's fixed time and effective bandwidth, with 95 % intervals."""

    backend: str
    dtype: str
    points: int
    t0_ms: float
    t0_low_ms: float
    t0_high_ms: float
    gb_per_s: float
    gb_per_s_low: float
    gb_per_s_high: float
    ceiling_gb_per_s: float
    share_of_ceiling: float
    rms_residual: float
    worst_residual: float


def fits(rows: Sequence[PointRow]) -> list[FitRow]:
    """Fit each backend and type over the points whose roofline is memory's, and weights from it.

    The choice is made by the ceilings alone, not by what the backend reached: one that does not
    stream its weights shows it by a low bandwidth.
    """
    found = []
    for name, own in by_backend(timed(rows)).items():
        for dtype in dict.fromkeys(row.dtype for row in own):
            chosen = [row for row in own if row.dtype == dtype and _of_memory(row)]
            if line := _fit(name, dtype, chosen):
                found.append(line)
    return found


def _of_memory(row: PointRow) -> bool:
    return row.roofline_bound == "memory" and not row.cached


def _fit(backend: str, dtype: str, rows: Sequence[PointRow]) -> FitRow | None:
    line = fit_line([row.weight_bytes for row in rows], [median_ms(row) / MS_PER_S for row in rows])
    if line is None:
        return None
    ceiling = statistics.median(row.ceiling_gb_per_s for row in rows)
    return FitRow(
        backend=backend,
        dtype=dtype,
        points=line.points,
        t0_ms=line.t0_s * MS_PER_S,
        t0_low_ms=line.t0_low_s * MS_PER_S,
        t0_high_ms=line.t0_high_s * MS_PER_S,
        gb_per_s=line.bytes_per_s / GB,
        gb_per_s_low=line.bytes_per_s_low / GB,
        gb_per_s_high=line.bytes_per_s_high / GB,
        ceiling_gb_per_s=ceiling,
        share_of_ceiling=line.bytes_per_s / GB / ceiling,
        rms_residual=line.rms_residual,
        worst_residual=line.worst_residual,
    )
