"""What bounds a point: what the ceilings alone would say, and what was reached."""

from dataclasses import dataclass
from typing import Literal

from perfmodel.phases import PhaseCost

BoundReached = Literal["memory", "compute", "neither", "above ceiling"]

CLOSE = 0.15
"""A point is bound by a ceiling when it comes within this share of it."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What this device does at best: measured beside the points, in the same processes."""

    copy_bytes_per_s: float
    """Bytes read and written."""
    read_bytes_per_s: float
    flops_per_s: float

    @property
    def bytes_per_s(self) -> float:
        """Weights are read, not copied: the faster of the two patterns is the ceiling."""
        return max(self.copy_bytes_per_s, self.read_bytes_per_s)

    def roofline(self, weight_bytes: int, flops: int) -> PhaseCost:
        """Price a step as perfmodel prices its expert phase, with these as the hardware."""
        return PhaseCost(
            "experts",
            weight_bytes,
            flops,
            weight_bytes / self.bytes_per_s,
            flops / self.flops_per_s,
        )


def expected(cost: PhaseCost) -> Literal["memory", "compute"]:
    """The longer of the two times that the ceilings allow."""
    return "memory" if cost.memory_s >= cost.compute_s else "compute"


def reached(cost: PhaseCost, seconds: float) -> BoundReached:
    """What a measured time reached.

    Neither: something else than the two ceilings took the time, such as launches, host code or a
    kernel that uses the device badly. Above: the weights cannot all have come from memory.
    """
    memory, compute = float(cost.memory_s) / seconds, float(cost.compute_s) / seconds
    if max(memory, compute) > 1 + CLOSE:
        return "above ceiling"
    if max(memory, compute) < 1 - CLOSE:
        return "neither"
    return "memory" if memory >= compute else "compute"
