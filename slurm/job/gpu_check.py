"""Before a server starts: are the GPUs that Slurm allocated the ones requested?"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from catalog.errors import ServerStartFailed
from orchestrator.engine import Callbacks, Engine, LaunchContext, Session
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.devices import Device


@dataclass(frozen=True, slots=True)
class GpuCheckedEngine:
    """An engine that looks at the GPUs before it starts a server."""

    engine: Engine
    found: tuple[Device, ...]
    why: str = ""
    """Why there are no others."""

    @contextlib.asynccontextmanager
    async def open(
        self, group: ServerGroup, context: LaunchContext, callbacks: Callbacks
    ) -> AsyncIterator[Session]:
        wrong = gpu_mismatch(group, self.found, self.why)
        if wrong:
            raise ServerStartFailed(f"WRONG_GPU: {wrong}", stage="place")
        async with self.engine.open(group, context, callbacks) as session:
            yield session


def gpu_mismatch(group: ServerGroup, found: Sequence[Device], why: str = "") -> str:
    """Return how the GPUs here differ from those requested; empty if they do not.

    `why` says what is known of those that are not there.
    """
    needed, hardware = group.num_gpus or 0, group.setup.hardware
    if len(found) < needed:
        told = f"{group.group_id} needs {needed} GPUs, NVML shows {len(found)} here"
        return f"{told}: {why}" if why else told
    own = group.setup.own_gpus
    others = sorted({device.known_as(own) for device in found} - {hardware})
    if others:
        return f"{group.group_id} asks for {hardware}, here are {', '.join(others)}"
    return ""
