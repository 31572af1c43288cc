"""The sanitized reader in the place of the installed one, before anything has loaded that."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from tests.fuzz.sanitize import MODULE

NAME = "workloads.transport._native"


def load_reader() -> ModuleType:
    """Load the module that `make sanitize` built; the client will find no other."""
    assert NAME not in sys.modules
    spec = importlib.util.spec_from_file_location(NAME, os.environ[MODULE])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[NAME] = module
    return module


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
