"""Before a server starts: are the GPUs that Slurm gave the ones asked for, and empty?"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from catalog.errors import ServerStartFailed
from orchestrator.devices import Device
from orchestrator.engines.base import Engine, Session, Site, Watch
from orchestrator.plan import ServerGroup

FREE_WITHIN_S = 60.0
"""How long the clean-up of the job before us may take."""
POLL_S = 2.0
IDLE_BYTES = 2 * 2**30
"""What a driver and a display may hold of an idle GPU."""


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
        watch.on_stage("looking at the GPUs")
        await _wait_until_free(self.found)
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


async def _wait_until_free(found: Sequence[Device]) -> None:
    deadline = time.monotonic() + FREE_WITHIN_S
    while taken := occupied(found):
        if time.monotonic() > deadline:
            told = "; ".join(taken)
            raise ServerStartFailed(f"GPU_NOT_CLEAN: {told}", stage="place")
        await asyncio.sleep(POLL_S)


def occupied(found: Sequence[Device]) -> list[str]:
    """Say of each GPU that is not empty who or how much is on it."""
    if not found:
        return []
    import pynvml

    pynvml.nvmlInit()
    try:
        return [told for device in found if (told := _occupied(device))]
    finally:
        pynvml.nvmlShutdown()


def _occupied(device: Device) -> str:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByUUID(device.uuid)
    used = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    others = [process.pid for process in running if process.pid != os.getpid()]
    if others:
        return f"GPU {device.index} is used by process {', '.join(map(str, others))}"
    if used > IDLE_BYTES:
        return f"GPU {device.index} holds {used / 2**30:.1f} GiB of nobody's that can be seen"
    return ""
