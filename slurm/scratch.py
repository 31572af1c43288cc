"""Caches on the node's own disk: a home directory on a network is slow, and shared."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "moeserve-task-"
CACHES = ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR",
          "CUDA_CACHE_PATH", "VLLM_CONFIG_ROOT")  # fmt: skip


@contextlib.contextmanager
def node_scratch(base: str, *, needed: bool) -> Iterator[None]:
    """Point the caches that nobody has placed at a folder of this task's own, removed after it."""
    if not needed:
        yield
        return
    _sweep(Path(base))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    with (folder / ".lock").open("w") as lock:
        # Held while the task lives, so that the next one can tell what a killed one has left.
        fcntl.flock(lock, fcntl.LOCK_EX)
        placed = {name: str(folder / name.lower()) for name in CACHES if name not in os.environ}
        os.environ.update(placed)
        try:
            yield
        finally:
            for name in placed:
                os.environ.pop(name, None)
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(base: Path) -> None:
    """Remove folders of tasks that were killed before they could."""
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / ".lock").open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
