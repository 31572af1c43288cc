"""What the device does at best: bytes copied and read a second, and FLOP/s of a matrix product."""

import statistics

import torch

from microbench.bound import Ceilings
from microbench.clock import Call, timed

REPEATS = 15
WARM_UPS = 2
WAKE_READS = 20
SIDE_ON_CPU, SIDE_ON_GPU = 1024, 8192


class MemoryProbe:
    """Two buffers larger than the caches together, and the ways to move their bytes."""

    def __init__(self, size_bytes: int, device: str) -> None:
        self._device, self._size = device, size_bytes
        self._source = torch.ones(size_bytes // 4, device=device)
        # Written before it is timed: a page that was never touched costs a fault, not bandwidth.
        self._target = torch.ones(size_bytes // 4, device=device)

    def copied(self, repeats: int = REPEATS) -> list[float]:
        """Bytes/s of a copy, read and written bytes both counted."""
        return self._paces(lambda _: self._target.copy_(self._source), 2, repeats)

    def read(self, repeats: int = REPEATS) -> list[float]:
        """Bytes/s of reading both at once: one stream does not saturate every CPU's memory."""
        return self._paces(lambda _: torch.dot(self._source, self._target), 2, repeats)

    def wake(self) -> None:
        """Read for a while: threads and clocks are slow to start after a pause."""
        timed(lambda _: torch.dot(self._source, self._target), WAKE_READS, device=self._device)

    def _paces(self, call: Call, buffers: int, repeats: int) -> list[float]:
        timed(call, 1, device=self._device)
        return [buffers * self._size / each for each in timed(call, repeats, device=self._device)]


def measure_flops(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of a large matrix product.

    On a CPU no less than float32's: a kernel may widen 16-bit weights and compute in float32, and
    does so where the CPU has no instructions for them.
    """
    types = {dtype, torch.float32} if device == "cpu" else {dtype}
    return max(_product(each, device) for each in types)


def measure_ceilings(dtype: torch.dtype, memory: MemoryProbe, device: str) -> Ceilings:
    copied, read = statistics.median(memory.copied()), statistics.median(memory.read())
    return Ceilings(copied, read, measure_flops(dtype, device))


def _product(dtype: torch.dtype, device: str) -> float:
    """Laid out as an expert's product: rows of tokens times rows of weights."""
    side = SIDE_ON_CPU if device == "cpu" else SIDE_ON_GPU
    left = torch.randn(side, side, device=device).to(dtype)
    right = torch.randn(side, side, device=device).to(dtype)
    seconds = _median_s(lambda _: torch.mm(left, right.t()), device)
    return 2 * side**3 / seconds


def _median_s(call: Call, device: str) -> float:
    timed(call, WARM_UPS, device=device)
    return statistics.median(timed(call, REPEATS, device=device))
