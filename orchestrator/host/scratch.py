"""A folder on this host's own disk for one server group: caches, and what must not outlive it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from catalog.temporary import temporary_folder

CACHES = ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR",
          "CUDA_CACHE_PATH", "VLLM_CONFIG_ROOT", "FLASHINFER_WORKSPACE_BASE", "DG_JIT_CACHE_DIR",
          "TILELANG_CACHE_DIR")  # fmt: skip


@contextlib.contextmanager
def scratch(base: str, prefix: str) -> Iterator[Path]:
    """Make a folder, point the caches that nobody has placed into it, and remove it at the end."""
    with temporary_folder(Path(base), prefix) as folder:
        placed = {name: str(folder / name.lower()) for name in CACHES if name not in os.environ}
        os.environ.update(placed)
        try:
            yield folder
        finally:
            for name in placed:
                os.environ.pop(name, None)
