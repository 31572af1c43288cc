"""The GPUs of a server: empty before it, the ones it was given, and given back after it."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from catalog.errors import ServerStartFailed
from orchestrator.devices import Device
from orchestrator.process import marked

FREE_WITHIN_S = 60.0
"""How long the clean-up of whoever was there before may take."""
POLL_S = 2.0
IDLE_BYTES = 2 * 2**30
"""What a driver and a display may hold of an idle GPU."""


async def wait_until_free(found: Sequence[Device], code: str) -> None:
    """Wait a minute at most for the GPUs to be empty; then fail with this code, saying who is on.

    `GPU_NOT_CLEAN` before a start, `ORPHAN_STUCK` after a stop.
    """
    deadline = time.monotonic() + FREE_WITHIN_S
    while taken := occupied(found):
        if time.monotonic() > deadline:
            told = "; ".join(taken)
            raise ServerStartFailed(f"{code}: {told}; see nvidia-smi", stage="place")
        await asyncio.sleep(POLL_S)


def occupied(found: Sequence[Device]) -> list[str]:
    """Say of each GPU that is not empty who or how much is on it."""
    if not found:
        return []
    with _nvml() as nvml:
        return [told for device in found if (told := _occupied(nvml, device))]


def misplaced(given: Sequence[Device], marker: str) -> str:
    """Say on which other GPUs than those given a server's processes compute; empty when on none.

    Inside a container NVML may not know our processes: nothing is said then.
    """
    ours = {process.pid for process in marked(marker)}
    with _nvml() as nvml:
        used = {index for index, pids in _running(nvml) if pids & ours}
    allowed = {device.index for device in given}
    if not used or used == allowed:
        return ""
    return f"the server was given GPUs {sorted(allowed)} and computes on {sorted(used)}"


def _running(nvml: ModuleType) -> Iterator[tuple[int, set[int]]]:
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        yield index, {each.pid for each in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}


def _occupied(nvml: ModuleType, device: Device) -> str:
    handle: Any = nvml.nvmlDeviceGetHandleByUUID(device.uuid)
    used = int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
    running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    others = [process.pid for process in running if process.pid != os.getpid()]
    if others:
        return f"GPU {device.index} is used by process {', '.join(map(str, others))}"
    if used > IDLE_BYTES:
        return f"GPU {device.index} holds {used / 2**30:.1f} GiB of nobody's that can be seen"
    return ""


@contextlib.contextmanager
def _nvml() -> Iterator[ModuleType]:
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()
