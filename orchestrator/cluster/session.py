"""A server on another node, measured by the agent beside it."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from catalog.errors import ServerError, ServerStartFailed
from orchestrator.cells import Run
from orchestrator.cluster.remote import RemoteAgent
from orchestrator.cluster.wire import (
    Closed,
    Done,
    Failed,
    LogTold,
    ProgressTold,
    RowTold,
    StageTold,
    Told,
    error_from,
)
from orchestrator.engines.base import Measurement, Stopped, Watch
from orchestrator.engines.http_session import HttpSession
from orchestrator.record import Provenance

CLOSE_S = 90.0
"""A server's own time to end, its supervisor's, and more; then the supervisor is on its own."""
T = TypeVar("T")


class Listening:
    """Hears one agent out: hands rows, stages and log on, and returns what is waited for."""

    def __init__(self, agent: RemoteAgent, log: Path) -> None:
        self.agent, self._log = agent, log
        self._news: deque[Told] = deque()
        self._heard = 0
        self._over = False

    async def until(self, kind: type[T], watch: Watch) -> T:
        """Return the next news of a kind; an error that the agent tells is raised."""
        while True:
            while self._news:
                told = self._news.popleft()
                if isinstance(told, kind):
                    return told
                self._pass_on(told, watch)
            await self._ask()

    async def lives(self, watch: Watch) -> None:
        """Listen to a part that is asked for nothing: this ends with an error only."""
        await self.until(Closed, watch)
        self._pass_on(Closed(), watch)

    async def close(self) -> None:
        """Take the part down and hear the rest of its log; one that is lost has nothing to say."""
        with contextlib.suppress(ServerError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._closed()
        for told in self._news:
            if isinstance(told, LogTold):
                self._pass_on(told, Watch())

    async def _closed(self) -> None:
        await self.agent.call("close")
        while not self._over:
            await self._ask()

    async def _ask(self) -> None:
        news = await self.agent.call("told", self._heard)
        self._heard += len(news)
        self._news.extend(news)
        self._over = self._over or any(isinstance(told, Closed) for told in news)

    def _pass_on(self, told: Told, watch: Watch) -> None:
        match told:
            case StageTold(text):
                watch.on_stage(text)
            case RowTold(row):
                watch.on_row(row)
            case ProgressTold(progress):
                watch.on_progress(progress)
            case LogTold(text):
                with self._log.open("ab") as file:
                    file.write(text)
            case Failed():
                raise error_from(told)
            case Closed() if watch.stop.is_set():
                raise Stopped
            case Closed():
                raise ServerStartFailed("AGENT_FAILED: it ended unasked", stage="agent")


async def first_of(wanted: asyncio.Task[T], others: Sequence[asyncio.Task[Any]]) -> T:
    """Await one task, unless one of the others ends before it: those end with an error only."""
    try:
        done, _ = await asyncio.wait([wanted, *others], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not wanted.done():
            # Two who listen to one agent would each hear half of it.
            wanted.cancel()
            await asyncio.gather(wanted, return_exceptions=True)
    if wanted not in done:
        for each in done:
            each.result()
    return wanted.result()


@contextlib.asynccontextmanager
async def halted(watch: Watch, agent: RemoteAgent) -> AsyncIterator[None]:
    """Tell an agent to come to an end as soon as the user wants one."""

    async def relay() -> None:
        await watch.stop.wait()
        with contextlib.suppress(ServerError):
            await agent.call("halt")

    task = asyncio.create_task(relay())
    try:
        yield
    finally:
        task.cancel()


class AgentClient:
    """The load generator in an agent, on the server's node or on another one."""

    def __init__(self, heard: Listening) -> None:
        self._heard = heard
        self._orders = 0
        self.where = heard.agent.node.name

    async def measure(self, run: Run, watch: Watch) -> Measurement:
        self._orders += 1
        await self._heard.agent.call("measure", run, self._orders)
        done = await self._heard.until(Done, watch)
        for name, content in done.files.items():
            if watch.folder is not None:
                (watch.folder / Path(name).name).write_bytes(content)
        return done.measurement


class DriverClient:
    """The load generator in the driver's own process."""

    where = "driver"

    def __init__(self, session: HttpSession) -> None:
        self._session = session

    async def measure(self, run: Run, watch: Watch) -> Measurement:
        return await self._session.measure(run, watch)


@dataclass(frozen=True, slots=True)
class RemoteSession:
    """A server that is ready on its nodes."""

    client: AgentClient | DriverClient
    others: Sequence[asyncio.Task[Any]]
    """Watch the parts that are not asked for anything: each ends with an error only."""
    provenance: Provenance
    gpu_type: str
    details: Mapping[str, Any]
    neighbours: Callable[[], int]
    """How many other groups run on the same nodes."""

    async def measure(self, run: Run, watch: Watch) -> Measurement:
        before = self.neighbours()
        measuring = asyncio.ensure_future(self.client.measure(run, watch))
        measurement = await first_of(measuring, self.others)
        figures = {
            **measurement.figures,
            "nodes": ";".join(self.details["ray"]["nodes"]),
            "client_on": self.client.where,
            "co_located_groups": max(before, self.neighbours()),
        }
        return replace(measurement, figures=figures)
