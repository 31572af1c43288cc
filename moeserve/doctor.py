"""What this machine can run, what is missing, and the command that brings it."""

import os
import resource
from collections.abc import Iterator

import psutil

from catalog.errors import install_line
from catalog.units import gib
from orchestrator.engines.registry import engine_kinds
from orchestrator.host.devices import NONE_HERE, Device, inventory
from orchestrator.host.requirements import Requirement, package, program

ENOUGH_FILES = 4096
NO_GPU = f"{install_line('gpu')} on a machine with an NVIDIA driver"


def checks() -> Iterator[Requirement]:
    """Yield every check: the GPUs, what each engine needs, then what the commands do."""
    yield _gpus()
    for kind in engine_kinds():
        yield from kind.requirements()
    yield package("ray", "ray", "layouts over several nodes without Slurm")
    yield package("statsmodels", "analysis", "anova, compare, report")
    yield program("sbatch", "moeserve slurm: run it on a login node of the cluster")
    yield _files()
    yield _memory()


def _gpus() -> Requirement:
    found = inventory()
    names = ", ".join(map(_described, found.devices))
    fix = "" if names or found.trouble else NO_GPU
    return Requirement("GPUs", bool(names), names or found.trouble or _none(found.absent), fix)


def _described(device: Device) -> str:
    memory = "memory not told" if device.memory_bytes is None else gib(device.memory_bytes)
    return f"{device.gpu_type} ({memory})"


def _none(absent: str) -> str:
    """As for everything else that is missing, unless there is more to say."""
    return "none" if absent == NONE_HERE else absent


def _files() -> Requirement:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    fix = "" if soft >= ENOUGH_FILES else f"ulimit -n {ENOUGH_FILES} (each stream is a file)"
    return Requirement("open files", soft >= ENOUGH_FILES, str(soft), fix)


def _memory() -> Requirement:
    total = psutil.virtual_memory().total
    return Requirement("host", True, f"{os.cpu_count()} CPUs, {gib(total)} of memory")
