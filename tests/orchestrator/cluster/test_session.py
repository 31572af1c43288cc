"""Reading an agent's events: what is waited for, what interrupts it, and the end of its log."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from catalog.errors import ServerDied, ServerStartFailed
from orchestrator.cluster.messages import (
    AgentEvent,
    ErrorRaised,
    LogAppended,
    ServerClosed,
    ServerReady,
    StageChanged,
)
from orchestrator.cluster.remote import AgentHandle
from orchestrator.cluster.session import EventReader, result_or_first_error
from orchestrator.engine import Callbacks, Stopped
from tests.machine import limit

READY = ServerReady("simulated", "A100-80GB", {})


class Scripted:
    """An agent that returns a list of events, some at each call."""

    def __init__(self, *answers: list[AgentEvent]) -> None:
        self._answers = list(answers)
        self.calls: list[str] = []

    async def call(self, method: str, *arguments: Any) -> list[AgentEvent]:
        self.calls.append(method)
        await asyncio.sleep(0)
        if method == "close":
            self._answers.append([ServerClosed()])
            return []
        while not self._answers:
            await asyncio.sleep(0.01)
        return self._answers.pop(0)


def event_reader(tmp_path: Path, *answers: list[AgentEvent]) -> EventReader:
    return EventReader(cast("AgentHandle", Scripted(*answers)), tmp_path / "server.log")


async def test_what_comes_before_is_handed_on_and_what_comes_after_is_kept(tmp_path: Path) -> None:
    stages: list[str] = []
    callbacks = Callbacks(on_stage=stages.append)
    reader = event_reader(
        tmp_path, [StageChanged("loading"), LogAppended(b"one\n"), READY, StageChanged("x")]
    )
    assert await reader.wait_for(ServerReady, callbacks) == READY
    assert stages == ["loading"]
    await reader.close()
    assert (tmp_path / "server.log").read_bytes() == b"one\n"


async def test_the_rest_of_the_log_comes_with_the_end(tmp_path: Path) -> None:
    reader = event_reader(tmp_path, [READY], [LogAppended(b"last words\n")])
    await reader.wait_for(ServerReady, Callbacks())
    await reader.close()
    assert (tmp_path / "server.log").read_bytes() == b"last words\n"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([ErrorRaised("ServerDied", "ENGINE_DEAD: x"), ServerClosed()], ServerDied),
        ([ServerClosed()], ServerStartFailed),
    ],
)
async def test_an_agent_that_ends_is_not_waited_for_again(
    tmp_path: Path, events: list[AgentEvent], expected: type[Exception]
) -> None:
    reader = event_reader(tmp_path, events)
    with pytest.raises(expected):
        await reader.wait_for(ServerReady, Callbacks())
    async with asyncio.timeout(limit(10)):
        await reader.close()


async def test_a_user_who_stops_during_the_start_is_no_failure(tmp_path: Path) -> None:
    reader, callbacks = event_reader(tmp_path, [ServerClosed()]), Callbacks()
    callbacks.stop.set()
    with pytest.raises(Stopped):
        await reader.wait_for(ServerReady, callbacks)
    async with asyncio.timeout(limit(10)):
        await reader.close()


async def test_a_part_that_fails_ends_the_wait_for_the_others(tmp_path: Path) -> None:
    head = event_reader(tmp_path)
    part = event_reader(tmp_path, [ErrorRaised("ServerDied", "ENGINE_DEAD: part")])
    monitor = asyncio.ensure_future(part.monitor(Callbacks()))
    with pytest.raises(ServerDied, match="part"):
        await result_or_first_error(
            asyncio.ensure_future(head.wait_for(ServerReady, Callbacks())), [monitor]
        )


async def test_a_wait_that_is_cancelled_reads_no_more_events(tmp_path: Path) -> None:
    wanted = asyncio.ensure_future(event_reader(tmp_path).wait_for(ServerReady, Callbacks()))
    waiting = asyncio.ensure_future(result_or_first_error(wanted, []))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert wanted.cancelled()
