"""What the command and its measuring processes tell each other, one JSON line each."""

import msgspec

from microbench.bound import Ceilings
from microbench.device import DeviceInfo
from microbench.point import Point
from microbench.rotation import WeightSet
from microbench.routing import RoutingPattern


class SweepJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that one process is to measure."""

    device: DeviceInfo
    points: tuple[Point, ...]
    together: tuple[tuple[WeightSet, ...], ...]
    """Sets of weights that are in memory at once, so that rounds go over all of their points."""
    backends: tuple[str, ...]
    routing: RoutingPattern
    rounds: int
    """Times the sweep comes back to a point: what disturbs the machine for a while hits few."""
    samples: int
    """Of each point and round."""
    warm_ups: int


class Round(msgspec.Struct, frozen=True, kw_only=True, tag="round"):
    """A round over the points of a set of weights begins."""

    share: int
    """Position of the set in the job."""
    number: int


class Turn(msgspec.Struct, frozen=True, kw_only=True, tag="turn"):
    """The process hands the machine to the next one, and waits."""


class PointTimings(msgspec.Struct, frozen=True, kw_only=True, tag="measured"):
    """One backend at one point; no seconds where it disagrees with the reference or failed."""

    point: int
    backend: str
    kernel: str
    seconds: tuple[float, ...] = ()
    interrupted: int = 0
    """Samples in which other programs took a core, for want of enough without."""
    bytes_per_s: tuple[float, ...] = ()
    """The memory's own pace, probed beside the samples."""
    disagreement: float | None = None
    """Largest difference over the reference's largest value; None for the reference itself."""
    failure: str = ""


class Ceiling(msgspec.Struct, frozen=True, kw_only=True, tag="ceiling"):
    """Ceilings of one data type, measured before and after the points."""

    dtype: str
    ceilings: Ceilings


class ProcessRefused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """The process cannot do its part, for a reason the user can fix."""

    reason: str


SweepMessage = Round | Turn | PointTimings | Ceiling | ProcessRefused
