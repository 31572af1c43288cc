"""What the quick tests need not even collect."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out of `-m "not slow"` a module that imports torch, which takes seconds."""
    quick = config.option.markexpr == "not slow"
    return True if quick and collection_path.name == "test_backends.py" else None
