"""A server on another node, measured by the agent beside it."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from catalog.errors import ServerError, ServerStartFailed
from orchestrator.cluster.messages import (
    AgentEvent,
    ErrorRaised,
    LoadProgressed,
    LogAppended,
    RowReceived,
    RunCompleted,
    ServerClosed,
    StageChanged,
    decode_error,
)
from orchestrator.cluster.neighbours import Neighbours
from orchestrator.cluster.remote import AgentHandle
from orchestrator.engine import Callbacks, Measurement, Stopped
from orchestrator.experiment.cells import Run
from orchestrator.host.logs import bound_log
from orchestrator.measure.choices import choice_figures
from orchestrator.measure.http_session import HttpSession
from orchestrator.results.record import Provenance

CLOSE_TIMEOUT_S = 90.0
"""A server's own time to end, its supervisor's, and more; then the supervisor is on its own."""
T = TypeVar("T")


class EventReader:
    """Reads one agent's events: passes rows, stages and log on, returns the event waited for."""

    def __init__(self, agent: AgentHandle, log: Path) -> None:
        self.agent, self._log = agent, log
        self._unread: deque[AgentEvent] = deque()
        self._received = 0
        self._closed = False

    async def wait_for(self, kind: type[T], callbacks: Callbacks) -> T:
        """Return the next event of a kind; an error that the agent reports is raised."""
        while True:
            while self._unread:
                event = self._unread.popleft()
                if isinstance(event, kind):
                    return event
                self._pass_on(event, callbacks)
            await self._fetch()

    async def monitor(self, callbacks: Callbacks) -> None:
        """Read the events of an agent that gets no request: this ends with an error only."""
        await self.wait_for(ServerClosed, callbacks)
        self._pass_on(ServerClosed(), callbacks)

    async def close(self) -> None:
        """Close the agent's server and read the rest of its log; a lost agent has none."""
        with contextlib.suppress(ServerError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._wait_closed()
        for event in self._unread:
            if isinstance(event, LogAppended):
                self._pass_on(event, Callbacks())

    async def _wait_closed(self) -> None:
        await self.agent.call("close")
        while not self._closed:
            await self._fetch()

    async def _fetch(self) -> None:
        events = await self.agent.call("events", self._received)
        self._received += len(events)
        self._unread.extend(events)
        self._closed = self._closed or any(isinstance(event, ServerClosed) for event in events)

    def _pass_on(self, event: AgentEvent, callbacks: Callbacks) -> None:
        match event:
            case StageChanged(text):
                callbacks.on_stage(text)
            case RowReceived(row):
                callbacks.on_row(row)
            case LoadProgressed(progress):
                callbacks.on_progress(progress)
            case LogAppended(text):
                with self._log.open("ab") as file:
                    file.write(text)
                bound_log(self._log)
            case ErrorRaised():
                raise decode_error(event)
            case ServerClosed() if callbacks.stop.is_set():
                raise Stopped
            case ServerClosed():
                raise ServerStartFailed("AGENT_FAILED: it ended unasked", stage="agent")


async def result_or_first_error(task: asyncio.Task[T], monitors: Sequence[asyncio.Task[Any]]) -> T:
    """Await a task, unless a monitor ends before it: monitors end with an error only."""
    try:
        done, _ = await asyncio.wait([task, *monitors], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            # Two readers of one agent would each get half of its events.
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if task not in done:
        for monitor in done:
            monitor.result()
    return task.result()


@contextlib.asynccontextmanager
async def forward_stop(callbacks: Callbacks, agent: AgentHandle) -> AsyncIterator[None]:
    """Stop the agent's run, or its start, as soon as `watch.stop` is set."""

    async def forward() -> None:
        await callbacks.stop.wait()
        with contextlib.suppress(ServerError):
            await agent.call("stop")

    task = asyncio.create_task(forward())
    try:
        yield
    finally:
        task.cancel()


class AgentClient:
    """The load generator in an agent, on the server's node or on another one."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self._runs = 0
        self.location = reader.agent.node.name

    async def measure(self, run: Run, callbacks: Callbacks) -> Measurement:
        self._runs += 1
        await self._reader.agent.call("measure", run, self._runs)
        done = await self._reader.wait_for(RunCompleted, callbacks)
        for name, content in done.files.items():
            if callbacks.folder is not None:
                (callbacks.folder / Path(name).name).write_bytes(content)
        return done.measurement


class DriverClient:
    """The load generator in the driver's own process."""

    location = "driver"

    def __init__(self, session: HttpSession) -> None:
        self._session = session

    async def measure(self, run: Run, callbacks: Callbacks) -> Measurement:
        return await self._session.measure(run, callbacks)


@dataclass(frozen=True, slots=True)
class RemoteSession:
    """A server that is ready on its nodes."""

    client: AgentClient | DriverClient
    monitors: Sequence[asyncio.Task[Any]]
    """Of the agents that get no requests: each ends with an error only."""
    provenance: Provenance
    gpu_type: str
    details: Mapping[str, Any]
    client_on: str
    """`server` where the client is beside it, else `driver` or a node's name."""
    neighbours: Callable[[], Awaitable[Neighbours]]
    """Who else is on its nodes."""
    real: bool
    """Whether neighbours disturb it: nobody does in virtual time."""

    async def measure(self, run: Run, callbacks: Callbacks) -> Measurement:
        before = await self.neighbours()
        measuring = asyncio.ensure_future(self.client.measure(run, callbacks))
        measurement = await result_or_first_error(measuring, self.monitors)
        beside = before | await self.neighbours()
        figures = {
            **measurement.figures,
            **choice_figures(self.details),
            "nodes": ";".join(self.details["ray"]["nodes"]),
            "client_on": self.client_on,
            "co_located_groups": beside.groups,
            **({"node_shared": beside.told} if self.real else {}),
        }
        return replace(measurement, figures=figures)
