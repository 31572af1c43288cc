"""Beside how many other jobs a run was measured: a node that is shared is another condition."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.engine import Callbacks, Engine, LaunchContext, Measurement, Session
from orchestrator.experiment.cells import Run
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.neighbours import node_shared, other_jobs
from orchestrator.results.record import Provenance


@dataclass(frozen=True, slots=True)
class NeighbourEngine:
    """An engine whose runs say who else was on the node."""

    engine: Engine

    @contextlib.asynccontextmanager
    async def open(
        self, group: ServerGroup, context: LaunchContext, callbacks: Callbacks
    ) -> AsyncIterator[Session]:
        async with self.engine.open(group, context, callbacks) as session:
            yield NeighbourSession(session)


@dataclass(frozen=True, slots=True)
class NeighbourSession:
    """A session whose runs count the other jobs before and after: not between, where looking
    would take the client's time."""

    session: Session

    @property
    def provenance(self) -> Provenance:
        return self.session.provenance

    @property
    def gpu_type(self) -> str:
        return self.session.gpu_type

    @property
    def details(self) -> Mapping[str, Any]:
        return self.session.details

    async def measure(self, run: Run, callbacks: Callbacks) -> Measurement:
        before = other_jobs(os.environ)
        measured = await self.session.measure(run, callbacks)
        after = other_jobs(os.environ)
        others = None if before is None or after is None else max(before, after)
        figures = {
            **measured.figures,
            "nodes": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
            "co_located_jobs": others,
            "node_shared": node_shared(others),
        }
        return replace(measured, figures=figures)
