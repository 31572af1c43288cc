"""The GPUs of a server: empty before it, the ones it was given, and given back after it.

What NVML does not tell is no problem found: AMD's GPUs, and calls that a driver refuses.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from catalog.errors import ServerStartFailed
from orchestrator.host.devices import Device
from orchestrator.host.nvml import Nvml, started
from orchestrator.host.process import marked_processes

FREE_WITHIN_S = 60.0
"""How long the clean-up of an earlier process may take."""
POLL_S = 2.0
IDLE_BYTES = 2 * 2**30
"""What a driver and a display may hold of an idle GPU."""


async def wait_until_free(found: Sequence[Device], code: str) -> None:
    """Wait a minute at most for the GPUs to be empty; then fail with this code, saying who is on.

    `GPU_NOT_CLEAN` before a start, `ORPHAN_STUCK` after a stop.
    """
    deadline = time.monotonic() + FREE_WITHIN_S
    while problems := occupied(found):
        if time.monotonic() > deadline:
            problem = "; ".join(problems)
            raise ServerStartFailed(f"{code}: {problem}; see nvidia-smi", stage="place")
        await asyncio.sleep(POLL_S)


def occupied(found: Sequence[Device]) -> list[str]:
    """Return a line for each GPU that is not empty: its processes or its used memory."""
    if not any(device.maker == "NVIDIA" for device in found):
        return []
    with started() as nvml:
        if nvml is None:
            return []
        return [problem for device in found if (problem := _occupied(nvml, device))]


def misplaced(assigned: Sequence[Device], marker: str) -> str:
    """Return on which other GPUs than those assigned a server's processes compute; empty if none.

    Inside a container NVML may not know our processes: nothing is said then, nor of a MIG instance,
    which shares its GPU's number with others.
    """
    if any(device.is_mig or device.maker != "NVIDIA" for device in assigned):
        return ""
    server_pids = {process.pid for process in marked_processes(marker)}
    with started() as nvml:
        running = _running(nvml) if nvml else ()
        used = {index for index, pids in running if pids & server_pids}
    allowed = {device.index for device in assigned}
    if not used or used == allowed:
        return ""
    return f"the server was given GPUs {sorted(allowed)} and computes on {sorted(used)}"


def _running(nvml: Nvml) -> Iterator[tuple[int, set[int]]]:
    for index in range(int(nvml.ask("DeviceGetCount") or 0)):
        handle = nvml.ask("DeviceGetHandleByIndex", index)
        if handle is not None:
            yield index, _processes(nvml, handle)


def _processes(nvml: Nvml, handle: Any) -> set[int]:
    found = nvml.ask("DeviceGetComputeRunningProcesses", handle)
    return {each.pid for each in found or ()}


def _occupied(nvml: Nvml, device: Device) -> str:
    handle = nvml.ask("DeviceGetHandleByUUID", device.uuid) if device.uuid else None
    if handle is None:
        return ""
    what = device.uuid if device.is_mig else f"GPU {device.index}"
    others = sorted(_processes(nvml, handle) - {os.getpid()})
    if others:
        return f"{what} is used by process {', '.join(map(str, others))}"
    memory = nvml.ask("DeviceGetMemoryInfo", handle)
    used = int(memory.used) if memory is not None else 0
    if used > IDLE_BYTES:
        return f"{what} holds {used / 2**30:.1f} GiB of nobody's that can be seen"
    return ""
