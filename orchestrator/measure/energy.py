"""Energy and price of a run, from power samples and a price per hour."""

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.measure.samples import SampleTable

LONGEST_GAP_S = 3.0
"""Power samples further apart than this do not make an energy."""
SECONDS_PER_HOUR = 3600.0
MILLION = 1e6
# Bits of NVML's throttle reasons: hardware slowdown, thermal (software, hardware), power brake.
SLOWED = 0x8 | 0x20 | 0x40 | 0x80
POWER_CAP = 0x4


def energy_joules(gpu: SampleTable) -> float | None:
    """Integrate power over time (trapezoids), summed over GPUs; None without a close series."""
    by_gpu: dict[object, list[tuple[float, float]]] = {}
    for row in gpu.rows:
        time_s, power_w = row.get("t_s"), row.get("power_w")
        if isinstance(time_s, float) and isinstance(power_w, float):
            by_gpu.setdefault(row.get("gpu"), []).append((time_s, power_w))
    series = [np.array(points) for points in by_gpu.values()]
    if not series or any(len(p) < 2 or np.diff(p[:, 0]).max() > LONGEST_GAP_S for p in series):
        return None
    return float(sum(np.trapezoid(points[:, 1], points[:, 0]) for points in series))


def energy_figures(gpu: SampleTable, output_tokens: int | None) -> dict[str, float | None]:
    joules = energy_joules(gpu)
    return {
        **throttle_figures(gpu),
        "energy_joules": joules,
        "joules_per_output_token": joules / output_tokens if joules and output_tokens else None,
        "peak_gpu_memory_bytes": _peak(gpu.column("memory_bytes")),
    }


def price_figures(
    figures: Mapping[str, float | int | None], num_gpus: int | None, price_per_hour: float | None
) -> dict[str, float | None]:
    """Return the price of a million output tokens at the run's throughput."""
    throughput = figures.get("output_throughput")
    if not throughput or not num_gpus or price_per_hour is None:
        return {}
    per_second = num_gpus * price_per_hour / SECONDS_PER_HOUR
    return {"usd_per_million_output_tokens": per_second / throughput * MILLION}


def throttle_figures(gpu: SampleTable) -> dict[str, float | None]:
    """Count samples in which a GPU was slowed, and the most foreign processes seen on one."""
    if not gpu.rows:
        return {}
    reasons = [int(value) for value in gpu.column("throttle_reasons") if isinstance(value, int)]
    return {
        "gpu_samples": len(gpu.rows),
        "gpu_throttled_samples": sum(bool(each & SLOWED) for each in reasons),
        "gpu_power_capped_samples": sum(bool(each & POWER_CAP) for each in reasons),
        "gpu_foreign_processes": _peak(gpu.column("foreign_processes")),
        "gpu_xid": next((xid for xid in gpu.column("xid") if isinstance(xid, int)), None),
        "gpu_ecc_errors": _growth(gpu, "ecc_uncorrected"),
    }


def _growth(gpu: SampleTable, counter: str) -> float | None:
    """Return by how much a counter of each GPU rose, summed over them."""
    by_gpu: dict[object, list[int]] = {}
    for row in gpu.rows:
        value = row.get(counter)
        if isinstance(value, int):
            by_gpu.setdefault(row.get("gpu"), []).append(value)
    return float(sum(v[-1] - v[0] for v in by_gpu.values())) if by_gpu else None


def _peak(values: Sequence[object]) -> float | None:
    known = [float(value) for value in values if isinstance(value, int | float)]
    return max(known) if known else None
