"""Settings for all tests."""

import gc
import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.leftovers import nothing_left_behind
from tests.machine import VARIABLE, slowness

__all__ = ["nothing_left_behind"]

# A shared machine may stop a test for a while: time belongs to benchmarks, not to properties.
settings.register_profile("moeserve", deadline=None, print_blob=True)
settings.load_profile("moeserve")


CLUSTERS = ("tests/slurm/", "tests/orchestrator/cluster/")
"""What waits for a scheduler most of the time."""


def lane(nodeid: str) -> str:
    return "clusters" if nodeid.startswith(CLUSTERS) else "rest"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Run clusters in one process, beside all that computes in the other."""
    if config.getoption("dist") != "loadscope":
        return None
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lane
    return scheduler


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what the processes of pytest-xdist inherit, before it starts them."""
    alone = slowness()
    if config.getoption("numprocesses", None):
        if config.getoption("dist") == "loadscope":
            os.environ[VARIABLE] = f"{2 * alone:.2f}"
        # As many threads as cores in each of several processes wait for one another.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def pytest_sessionfinish() -> None:
    """Let the last collection see everything again (see `tests.leftovers`)."""
    gc.unfreeze()
