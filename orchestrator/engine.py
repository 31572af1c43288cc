"""The seam between an experiment and whatever serves it."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from catalog.models import Model
from orchestrator.experiment.cells import Run
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.results.record import Provenance
from workloads.client.progress import Progress
from workloads.transcript import RequestRow

Figure = float | int | str | None


@dataclass(frozen=True, slots=True)
class Callbacks:
    """How a measurement reports while it goes on, and how it is told to stop."""

    on_row: Callable[[RequestRow], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None
    """How far the load is; rows of a short run come only when its load is over."""
    on_stage: Callable[[str], None] = lambda _: None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    folder: Path | None = None
    """Where files beside the request rows may be put; they are published with the run."""


class Stopped(Exception):
    """The user asked to stop while a server was starting: nothing failed."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run gave besides its rows."""

    figures: Mapping[str, Figure] = field(default_factory=dict)
    """Further columns of the run table: the server's own view, the client's self-checks."""
    reasons: tuple[str, ...] = ()
    """Codes of what makes the run invalid, each `CODE: numbers and advice`."""


class Session(Protocol):
    """A server that is ready (or a model of one)."""

    @property
    def provenance(self) -> Provenance: ...
    @property
    def gpu_type(self) -> str: ...
    @property
    def details(self) -> Mapping[str, Any]:
        """How the server was started and what it said of itself; kept with every run."""
        ...

    async def measure(self, run: Run, callbacks: Callbacks) -> Measurement:
        """Load the server with one run's traffic; every request ends as one row."""
        ...


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """Where a server group runs: its model, its folder for logs, what may be used."""

    experiment: Experiment
    model: Model
    folder: Path
    gpus: tuple[str, ...] | None = None
    """Device ids the server may see; None leaves the environment alone."""
    stop_grace_s: float | None = None
    """How long the server may take to end; None is the usual time."""
    detached: bool = False
    """Whether the process that starts the server may have its children killed before it ends."""
    host: str = "127.0.0.1"
    """Address that the server binds."""
    args: tuple[str, ...] = ()
    """The server's part in a layout over several nodes, before the user's own arguments."""
    api_key: str | None = field(default=None, repr=False)
    """What the server asks of its clients: one that is not on loopback asks for something."""


class Engine(Protocol):
    """Serves a group's model in its layout."""

    def open(
        self, group: ServerGroup, context: LaunchContext, callbacks: Callbacks
    ) -> AbstractAsyncContextManager[Session]: ...
