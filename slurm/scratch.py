"""Caches on the node's own disk: a home directory on a network is slow, and shared."""

import contextlib
from collections.abc import Iterator

from orchestrator.scratch import scratch

PREFIX = "moeserve-task-"


@contextlib.contextmanager
def node_scratch(base: str, *, needed: bool) -> Iterator[None]:
    """Give a task that starts real servers a folder of its own for their caches."""
    if not needed:
        yield
        return
    with scratch(base, PREFIX):
        yield
