"""Timing calls one by one: the monotonic clock on a CPU, CUDA events on a GPU."""

import gc
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

Call = Callable[[int], object]
"""One step; its argument counts them, so that each can read other weights."""


MOST_ATTEMPTS = 2
"""Steps tried for each sample wanted, when others take the cores away."""


@dataclass(frozen=True, slots=True)
class TimedSteps:
    """Seconds of each step, and in how many another program had one of this one's cores."""

    seconds: list[float]
    interrupted: int
    tried: int


def sampled(call: Call, count: int, *, device: str) -> TimedSteps:
    """Time `count` steps; on a CPU those that the scheduler broke into are repeated.

    They hold another program's time slice of milliseconds. When they are too many they stay in.
    """
    if device != "cpu":
        return TimedSteps(timed(call, count, device=device), 0, count)
    clean: list[float] = []
    broken: list[float] = []
    with _no_collection():
        while len(clean) < count and len(clean) + len(broken) < MOST_ATTEMPTS * count:
            before = _switches()
            seconds = _by_clock(lambda _: call(len(clean) + len(broken)), 1)
            (clean if _switches() == before else broken).extend(seconds)
    missing = count - len(clean)
    return TimedSteps(clean + broken[:missing], missing, len(clean) + len(broken))


def _switches() -> int:
    """Times that any thread of this process had to give up its core."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


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
