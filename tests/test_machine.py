"""Limits grow with the machine's slowness and never fall below what they were given."""

import asyncio

import pytest

from tests.machine import VARIABLE, limit, probe, slowness, until, until_async


def test_a_probe_is_never_less_than_a_quiet_machine() -> None:
    assert probe() >= 1.0


@pytest.mark.parametrize(("kept", "factor"), [("1.00", 1.0), ("7.50", 7.5), ("0.10", 1.0)])
def test_the_session_s_factor_is_read_by_every_process(
    monkeypatch: pytest.MonkeyPatch, kept: str, factor: float
) -> None:
    monkeypatch.setenv(VARIABLE, kept)
    assert slowness() == factor
    assert limit(3.0) >= 3.0 * factor


def test_waiting_ends_with_the_condition_or_says_why_it_did_not() -> None:
    seen: list[int] = []
    until(lambda: seen.append(1) or len(seen) > 2)
    assert len(seen) == 3
    asyncio.run(until_async(lambda: seen.pop() or not seen))
    for wait in (until, lambda *_, **more: asyncio.run(until_async(*_, **more))):
        with pytest.raises(AssertionError, match="waited too long: the log's end"):
            wait(lambda: False, 0.0, told=lambda: "the log's end")
