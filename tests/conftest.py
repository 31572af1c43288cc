"""Settings for all tests."""

import gc
import os

import pytest
from hypothesis import settings

from tests.leftovers import nothing_left_behind
from tests.machine import slowness

__all__ = ["nothing_left_behind"]

# A shared machine may stop a test for a while: time belongs to benchmarks, not to properties.
settings.register_profile("moeserve", deadline=None, print_blob=True)
settings.load_profile("moeserve")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what the processes of pytest-xdist inherit, before it starts them."""
    slowness()
    if config.getoption("numprocesses", None):
        # As many threads as cores in each of several processes wait for one another.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def pytest_sessionfinish() -> None:
    """Let the last collection see everything again (see `tests.leftovers`)."""
    gc.unfreeze()
