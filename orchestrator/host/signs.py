"""Signs in the file system of an accelerator whose library does not answer."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
NVIDIA = ("proc/driver/nvidia/gpus/*", "dev/nvidia[0-9]*", "etc/nv_tegra_release", "dev/dxg")
OTHERS = {
    "an Ascend NPU": "dev/davinci[0-9]*",
    "a Gaudi": "sys/class/habanalabs/hl[0-9]*",
    "an accelerator": "dev/accel/accel[0-9]*",
}
AMD_NODES = "sys/class/kfd/kfd/topology/nodes/*"
LEAST_AMD_BYTES = 6 * 2**30
"""Of its own memory: the graphics in a processor have less, and serve nothing."""


def nvidia_sign() -> str:
    """Return a path that only a host with an NVIDIA GPU has; empty without one."""
    return next(filter(None, map(_first, NVIDIA)), "")


def amd_sign() -> str:
    """Return the path of an AMD GPU in the kernel's topology; empty without one."""
    for node in sorted(ROOT.glob(AMD_NODES)):
        if _numbers(node / "properties", "simd_count") and _memory_bytes(node) >= LEAST_AMD_BYTES:
            return str(node)
    return ""


def other_sign() -> str:
    """Name an accelerator that this program knows nothing of; empty without one."""
    found = ((name, _first(pattern)) for name, pattern in OTHERS.items())
    return next((f"{name} ({path})" for name, path in found if path), "")


def _first(pattern: str) -> str:
    return str(min(ROOT.glob(pattern), default=""))


def _memory_bytes(node: Path) -> int:
    banks = node.glob("mem_banks/*/properties")
    return sum(sum(_numbers(bank, "size_in_bytes")) for bank in banks if _is_own(bank))


def _is_own(bank: Path) -> bool:
    """Return whether a bank is a frame buffer, public or private: heap types 1 and 2 of the KFD."""
    return any(kind in (1, 2) for kind in _numbers(bank, "heap_type"))


def _numbers(path: Path, name: str) -> list[int]:
    return [value for key, value in _properties(path) if key == name and value]


def _properties(path: Path) -> Iterator[tuple[str, int]]:
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if value.strip().isdigit():
                yield key, int(value)
