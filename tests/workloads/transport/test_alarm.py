import asyncio
from time import perf_counter

import pytest

from tests.machine import limit, until_async
from workloads.transport.alarm import Alarm


@pytest.fixture(params=["timerfd", "asyncio"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "asyncio":
        monkeypatch.setattr("workloads.transport.alarm.sys.platform", "elsewhere")
    return str(request.param)


async def rung(*delays_s: float, times: int = 1) -> list[float]:
    """Set an alarm to each delay in turn, at once; return when it rang, from the start."""
    start, rings = perf_counter(), []
    alarm = Alarm(asyncio.get_running_loop(), lambda: rings.append(perf_counter() - start))
    for delay_s in delays_s:
        alarm.set(start + delay_s)
    await until_async(lambda: len(rings) >= times)
    await asyncio.sleep(0.1)  # in which it may ring once more than it should
    alarm.close()
    return rings


@pytest.mark.usefixtures("platform")
async def test_an_alarm_rings_once_and_not_before_its_time() -> None:
    (ring,) = await rung(0.03)
    assert ring >= 0.029


@pytest.mark.usefixtures("platform")
async def test_a_new_instant_replaces_the_old_one() -> None:
    (ring,) = await rung(600.0, 0.02)
    assert ring >= 0.019
    assert await rung(0.02, 600.0, times=0) == []


@pytest.mark.usefixtures("platform")
async def test_an_instant_that_is_past_rings_at_once() -> None:
    (ring,) = await rung(-100.0)
    assert 0 <= ring < limit(0.25)


@pytest.mark.usefixtures("platform")
async def test_a_closed_alarm_is_silent() -> None:
    rings: list[int] = []
    alarm = Alarm(asyncio.get_running_loop(), lambda: rings.append(1))
    alarm.set(perf_counter() + 0.01)
    alarm.close()
    await asyncio.sleep(0.03)
    assert rings == []
