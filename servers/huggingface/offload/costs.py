"""Move a missing expert to the device, or compute it on the host: decided by measured times."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from servers.huggingface.offload.packed import PackedExperts

if TYPE_CHECKING:
    from torch import Tensor

REPEATS = 5
MANY_TOKENS = 64
Compute = Callable[[PackedExperts, int, "Tensor"], "Tensor"]


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds for one expert; times with tokens are lines through two measured points."""

    move_s: float
    host_s: float
    """One token."""
    host_s_per_token: float
    """Each further one."""
    device_s: float
    device_s_per_token: float

    def host_is_quicker(self, tokens: int) -> bool:
        """Fiddler's rule: host compute against transfer and device compute."""
        further = tokens - 1
        host_s = self.host_s + self.host_s_per_token * further
        device_s = self.device_s + self.device_s_per_token * further
        return host_s < self.move_s + device_s


def measure_costs(host: PackedExperts, arena: PackedExperts, compute: Compute) -> Costs:
    """Time a copy, and the product of one and of many tokens on either side; medians."""
    import torch

    def timed(action: Callable[[], object]) -> float:
        times = []
        for _ in range(REPEATS + 1):
            began_s = time.perf_counter()
            action()
            if arena.weights.is_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began_s)
        return median(times[1:])  # the first one warms up

    def line(store: PackedExperts) -> tuple[float, float]:
        few, many = (
            torch.zeros(tokens, store.hidden, dtype=store.dtype, device=store.weights.device)
            for tokens in (1, MANY_TOKENS)
        )
        one_s = timed(lambda: compute(store, 0, few))
        return one_s, max(0.0, timed(lambda: compute(store, 0, many)) - one_s) / (MANY_TOKENS - 1)

    # Whatever garbage the arena holds before its first use would be timed as denormals.
    arena.fetch(0, host, 0)
    move_s = timed(lambda: arena.fetch(0, host, 0))
    return Costs(move_s, *line(host), *line(arena))
