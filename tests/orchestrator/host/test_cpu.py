"""How many cores of this process are free."""

import os
from collections import namedtuple

import psutil
import pytest

from orchestrator.host.cpu import free_cores

Times = namedtuple("Times", "user system idle iowait guest")


async def test_free_is_what_idles_of_the_cores_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half_idle = Times(user=3, system=2, idle=3, iowait=2, guest=3)
    busy, idle = Times(10, 0, 0, 0, 0), Times(0, 0, 10, 0, 0)
    started = Times(5, 5, 5, 5, 5)

    def after(passed: Times) -> Times:
        return Times(*(a + b for a, b in zip(started, passed, strict=True)))

    samples = iter([[started] * 4, [after(half_idle), after(busy), after(idle), started]])
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: next(samples))
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: [0, 1, 3, 7])
    assert await free_cores(0.0) == pytest.approx(0.5 + 0 + 1)


async def test_it_is_never_more_than_the_cores_there_are() -> None:
    assert 0 <= await free_cores(0.05) <= (os.cpu_count() or 1)
