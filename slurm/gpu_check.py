"""Before a server starts: are the GPUs that Slurm gave the ones asked for?"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from catalog.errors import ServerStartFailed
from orchestrator.devices import Device
from orchestrator.engines.base import Engine, Session, Site, Watch
from orchestrator.plan import ServerGroup


@dataclass(frozen=True, slots=True)
class Checked:
    """An engine that looks at the GPUs before it starts a server."""

    engine: Engine
    found: tuple[Device, ...]

    def open(
        self, group: ServerGroup, site: Site, watch: Watch
    ) -> AbstractAsyncContextManager[Session]:
        return self._open(group, site, watch)

    @contextlib.asynccontextmanager
    async def _open(self, group: ServerGroup, site: Site, watch: Watch) -> AsyncIterator[Session]:
        wrong = mismatch(group, self.found)
        if wrong:
            raise ServerStartFailed(f"WRONG_GPU: {wrong}", stage="place")
        async with self.engine.open(group, site, watch) as session:
            yield session


def mismatch(group: ServerGroup, found: Sequence[Device]) -> str:
    """Say what is wrong with the GPUs here; empty when they are the ones asked for."""
    needed, hardware = group.num_gpus or 0, group.setup.hardware
    if len(found) < needed:
        return f"{group.group_id} needs {needed} GPUs, NVML shows {len(found)} here"
    others = sorted({device.gpu_type for device in found} - {hardware})
    if others:
        return f"{group.group_id} asks for {hardware}, here are {', '.join(others)}"
    return ""
