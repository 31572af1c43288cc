"""A server in the foreground."""

import asyncio
import os
import sys

import pytest

from catalog.errors import BadValue
from moeserve.cli import serve
from orchestrator.engines.kind import ServerCommand
from orchestrator.experiment.experiment import Experiment
from orchestrator.serve import foreground


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are bound on Linux alone")
def test_a_server_in_the_foreground_keeps_to_the_cores_it_is_given() -> None:
    core = max(os.sched_getaffinity(0))
    program = f"import os, sys; sys.exit(os.sched_getaffinity(0) != {{{core}}})"
    command = ServerCommand((sys.executable, "-S", "-c", program), cores=(core,))
    assert asyncio.run(serve._run(command)) == 0


def test_several_setups_are_named_and_refused() -> None:
    several = Experiment(
        models=("mixtral",), strategies=("tp,ep",), engine="simulated", workloads=("1:1:1",)
    )
    with pytest.raises(BadValue, match="'Mixtral-8x7B tp, Mixtral-8x7B ep', allowed: one model"):
        foreground(several, served_name=None, port=8000)


def test_a_real_server_is_asked_for_no_fault() -> None:
    real = Experiment(models=("tiny-olmoe",), strategies=("single",), engine="transformers")
    with pytest.raises(BadValue, match="--fault: got 'die-after-tokens=1'"):
        foreground(real, served_name=None, port=8000, faults=["die-after-tokens=1"])
