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


LANES = {
    "tests/slurm/": "clusters",
    "tests/orchestrator/cluster/": "clusters",
    "tests/orchestrator/engines/": "engines",
}
"""Where slow tests lie: clusters wait most of the time, engines start servers, others compute."""


def lane(nodeid: str) -> str:
    return next((name for place, name in LANES.items() if nodeid.startswith(place)), "rest")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Run each lane in a process of its own: two that start servers at once take too long."""
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
            os.environ[VARIABLE] = f"{len({*LANES.values(), 'rest'}) * alone:.2f}"
        # As many threads as cores in each of several processes wait for one another.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def pytest_sessionfinish() -> None:
    """Let the last collection see everything again (see `tests.leftovers`)."""
    gc.unfreeze()
