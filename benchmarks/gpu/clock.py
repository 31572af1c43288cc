"""Times of single operations on a device, and what is wanted of every part."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FIRST = 2
MOST, LEAST = 50, 3


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a part measures, and at which sizes."""

    device: str
    small: bool
    """Sizes that two cores finish, instead of the studies' own."""

    @property
    def dtype(self) -> "torch.dtype":
        import torch

        return torch.float32 if self.device == "cpu" else torch.bfloat16


def median_s(action: Callable[[], object], device: str, *, within_s: float = 1.0) -> float:
    """Return the median time of an action with its work on the device; two go before."""
    import torch

    times: list[float] = []
    begun_s = time.perf_counter()
    while len(times) < FIRST + LEAST or (
        len(times) < FIRST + MOST and time.perf_counter() - begun_s < within_s
    ):
        start_s = time.perf_counter()
        action()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start_s)
    return statistics.median(times[FIRST:])
