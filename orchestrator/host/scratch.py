"""A folder on this host's own disk for one server group: caches, and what must not outlive it."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from catalog.errors import BadFile
from catalog.inside import lock_file

CACHES = ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR",
          "CUDA_CACHE_PATH", "VLLM_CONFIG_ROOT", "FLASHINFER_WORKSPACE_BASE", "DG_JIT_CACHE_DIR",
          "TILELANG_CACHE_DIR")  # fmt: skip


@contextlib.contextmanager
def scratch(base: str, prefix: str) -> Iterator[Path]:
    """Make a folder, point the caches that nobody has placed into it, and remove it at the end."""
    _sweep(Path(base), prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    with lock_file(folder / ".lock") as lock:
        # Held while its owner lives, so that the next one can tell what a killed one has left.
        fcntl.flock(lock, fcntl.LOCK_EX)
        placed = {name: str(folder / name.lower()) for name in CACHES if name not in os.environ}
        os.environ.update(placed)
        try:
            yield folder
        finally:
            for name in placed:
                os.environ.pop(name, None)
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(base: Path, prefix: str) -> None:
    """Remove the folders of those that were killed before they could."""
    for folder in base.glob(f"{prefix}*"):
        with contextlib.suppress(OSError, BadFile):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            if not os.path.lexists(folder / ".lock"):
                continue  # its owner is about to make it
            with lock_file(folder / ".lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
