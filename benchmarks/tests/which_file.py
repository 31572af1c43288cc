"""A plugin of pytest under coverage.py: which file of tests ran a line.

Each file's tests, with what their fixtures do, are measured under the file's name; what is run by
importing has none. `--by-file` of `mutate.py` reads what this writes.
"""

import sys
from typing import Any

import pytest


def _measuring() -> Any:
    """Return what measures this process, None where nothing does."""
    coverage = sys.modules.get("coverage")
    return coverage and coverage.Coverage.current()


def pytest_runtest_logstart(nodeid: str) -> None:
    if measuring := _measuring():
        measuring.switch_context(nodeid.split("::")[0])


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish() -> None:
    if measuring := _measuring():
        measuring.switch_context("")
