"""Timing calls one by one: the monotonic clock on a CPU, CUDA events on a GPU."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

Call = Callable[[int], object]
"""One step; its argument counts them, so that each can read other weights."""


def timed(call: Call, count: int, *, device: str) -> list[float]:
    """Time `count` steps, in seconds each."""
    with _no_collection():
        return _by_clock(call, count) if device == "cpu" else _by_events(call, count, device)


def _by_clock(call: Call, count: int) -> list[float]:
    seconds = []
    for i in range(count):
        start = time.perf_counter_ns()
        call(i)
        seconds.append((time.perf_counter_ns() - start) * 1e-9)
    return seconds


def _by_events(call: Call, count: int, device: str) -> list[float]:
    """Events lie between steps in the stream; it is waited for once, at the end."""
    with torch.cuda.device(device):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        torch.cuda.synchronize()
        marks[0].record()
        for i in range(count):
            call(i)
            marks[i + 1].record()
        torch.cuda.synchronize()
        return [marks[i].elapsed_time(marks[i + 1]) * 1e-3 for i in range(count)]


@contextmanager
def _no_collection() -> Iterator[None]:
    """A garbage collection in the middle of a step would be measured with it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
