"""A server in the foreground."""

import asyncio
import os
import sys

import pytest

from moeserve.cli import serve
from orchestrator.engines.kind import ServerCommand


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are bound on Linux alone")
def test_a_server_in_the_foreground_keeps_to_the_cores_it_is_given() -> None:
    core = max(os.sched_getaffinity(0))
    program = f"import os, sys; sys.exit(os.sched_getaffinity(0) != {{{core}}})"
    command = ServerCommand((sys.executable, "-S", "-c", program), cores=(core,))
    assert asyncio.run(serve._run(command)) == 0
