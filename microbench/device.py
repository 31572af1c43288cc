"""The device a sweep runs on: its memory, its last-level cache, its threads."""

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from catalog.errors import BadValue, UnknownName
from catalog.units import MIB

ASSUMED_CACHE_BYTES = 64 * MIB
"""Where the machine does not say: more than most have, so that weights still come from memory."""
CPUS = Path("/sys/devices/system/cpu")
CGROUP = Path("/sys/fs/cgroup")


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a sweep needs to know of its device."""

    device: str
    """torch's name: cpu, cuda:0."""
    name: str
    memory_bytes: int
    free_bytes: int
    cache_bytes: int
    threads: int
    """Of the host; a GPU's kernels are launched by one."""

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"


def describe(device: str = "auto", *, threads: int | None = None) -> DeviceInfo:
    """Look at a device by torch's name; auto is the first GPU, or the CPU where there is none."""
    import torch

    cores = available_cores()
    if threads is not None and not 1 <= threads <= cores:
        raise BadValue("threads", threads, f"1 to {cores}, the cores this process may use")
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
        raise UnknownName("device", device, ("auto", "cpu", "cuda", "cuda:1"))
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return _cpu(threads or cores)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(device.partition(":")[2] or 0)
    if index >= count:
        found = f"torch {torch.__version__} sees {count} CUDA devices here"
        raise BadValue("device", device, f"one that exists: {found}; cpu always does")
    return _gpu(index, threads or cores)


def available_cores() -> int:
    """Cores this process may run on, no more than its container's share of time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _read(CGROUP / "cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        return max(1, min(cores or 1, int(quota[0]) // int(quota[1])))
    return cores or 1


def host_memory() -> tuple[int, int]:
    """Bytes there are and bytes free just now, within the container's limit."""
    import psutil

    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    limit = _read(CGROUP / "memory.max").strip()
    if limit.isdigit():
        used = int(_read(CGROUP / "memory.current").strip() or 0)
        total, free = min(total, int(limit)), max(0, min(free, int(limit) - used))
    return total, free


def _cpu(threads: int) -> DeviceInfo:
    total, free = host_memory()
    return DeviceInfo(
        device="cpu",
        name=_cpu_name(),
        memory_bytes=total,
        free_bytes=free,
        cache_bytes=last_level_cache(CPUS) or ASSUMED_CACHE_BYTES,
        threads=threads,
    )


def _gpu(index: int, threads: int) -> DeviceInfo:
    import torch

    facts = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    return DeviceInfo(
        device=f"cuda:{index}",
        name=facts.name,
        memory_bytes=int(total),
        free_bytes=int(free),
        cache_bytes=int(getattr(facts, "L2_cache_size", 0)) or ASSUMED_CACHE_BYTES,
        threads=threads,
    )


def last_level_cache(cpus: Path) -> int:
    """Add up the last level's caches of all cores, each once; 0 where Linux does not tell."""
    found: dict[str, tuple[int, int]] = {}
    for cache in cpus.glob("cpu[0-9]*/cache/index*"):
        level, size = _read(cache / "level").strip(), _read(cache / "size").strip()
        if level.isdigit() and size[:-1].isdigit():
            shared = _read(cache / "shared_cpu_list").strip()
            found[f"{level}:{shared}"] = (int(level), _size_bytes(size))
    return _last(found.values())


def _last(caches: Iterable[tuple[int, int]]) -> int:
    listed = list(caches)
    deepest = max((level for level, _ in listed), default=0)
    return sum(size for level, size in listed if level == deepest)


def _size_bytes(text: str) -> int:
    return int(text[:-1]) * {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1], 0)


def _cpu_name() -> str:
    lines = _read(Path("/proc/cpuinfo")).splitlines()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
