"""Listening to an agent: what is waited for, what interrupts it, and that the end is not missed."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from catalog.errors import ServerDied, ServerStartFailed
from orchestrator.cluster.remote import RemoteAgent
from orchestrator.cluster.session import Listening, first_of
from orchestrator.cluster.wire import Closed, Failed, LogTold, Ready, StageTold, Told
from orchestrator.engines.base import Stopped, Watch

READY = Ready("simulated", "A100-80GB", {})


class Scripted:
    """An agent that tells a list of news, some at each question."""

    def __init__(self, *answers: list[Told]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def call(self, method: str, *arguments: Any) -> list[Told]:
        self.asked.append(method)
        await asyncio.sleep(0)
        if method == "close":
            self._answers.append([Closed()])
            return []
        while not self._answers:
            await asyncio.sleep(0.01)
        return self._answers.pop(0)


def listening(tmp_path: Path, *answers: list[Told]) -> Listening:
    return Listening(cast("RemoteAgent", Scripted(*answers)), tmp_path / "server.log")


async def test_what_comes_before_is_handed_on_and_what_comes_after_is_kept(tmp_path: Path) -> None:
    stages: list[str] = []
    watch = Watch(on_stage=stages.append)
    heard = listening(tmp_path, [StageTold("loading"), LogTold(b"one\n"), READY, StageTold("x")])
    assert await heard.until(Ready, watch) == READY
    assert stages == ["loading"]
    await heard.close()
    assert (tmp_path / "server.log").read_bytes() == b"one\n"


async def test_the_rest_of_the_log_comes_with_the_end(tmp_path: Path) -> None:
    heard = listening(tmp_path, [READY], [LogTold(b"last words\n")])
    await heard.until(Ready, Watch())
    await heard.close()
    assert (tmp_path / "server.log").read_bytes() == b"last words\n"


@pytest.mark.parametrize(
    ("news", "expected"),
    [
        ([Failed("ServerDied", "ENGINE_DEAD: x"), Closed()], ServerDied),
        ([Closed()], ServerStartFailed),
    ],
)
async def test_an_agent_that_ends_is_not_waited_for_again(
    tmp_path: Path, news: list[Told], expected: type[Exception]
) -> None:
    heard = listening(tmp_path, news)
    with pytest.raises(expected):
        await heard.until(Ready, Watch())
    async with asyncio.timeout(5):
        await heard.close()


async def test_a_user_who_stops_during_the_start_is_no_failure(tmp_path: Path) -> None:
    heard, watch = listening(tmp_path, [Closed()]), Watch()
    watch.stop.set()
    with pytest.raises(Stopped):
        await heard.until(Ready, watch)
    async with asyncio.timeout(5):
        await heard.close()


async def test_a_part_that_fails_ends_the_wait_for_the_others(tmp_path: Path) -> None:
    head = listening(tmp_path)
    part = listening(tmp_path, [Failed("ServerDied", "ENGINE_DEAD: part")])
    lives = asyncio.ensure_future(part.lives(Watch()))
    with pytest.raises(ServerDied, match="part"):
        await first_of(asyncio.ensure_future(head.until(Ready, Watch())), [lives])


async def test_whoever_is_cancelled_stops_listening(tmp_path: Path) -> None:
    wanted = asyncio.ensure_future(listening(tmp_path).until(Ready, Watch()))
    waiting = asyncio.ensure_future(first_of(wanted, []))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert wanted.cancelled()
