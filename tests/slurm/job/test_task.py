"""A task of an array, run in this process: told to end, near its limit, and requeued."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from moeserve.cli.slurm_submit import retry_missing
from orchestrator.results.store import Store
from perfmodel.simulate import simulate
from slurm.watch.collect import collect
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import look, program, states, submit

SIMULATED = "orchestrator.engines.simulated.engine"
pytestmark = pytest.mark.usefixtures("hurried")


def told_while_it_computes(
    cluster: MemorySlurm, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """Let the cluster work; each task gets a signal within its first run. Returns exit codes."""
    codes = list[int]()

    def simulate_and_be_told(*arguments: Any, **options: Any) -> object:
        signal.raise_signal(number)
        return simulate(*arguments, **options)

    def noted(command: Sequence[str], variables: Mapping[str, str]) -> int:
        codes.append(program(command, variables))
        return codes[-1]

    with monkeypatch.context() as patched:
        patched.setattr(f"{SIMULATED}.simulate", simulate_and_be_told)
        cluster.work(noted)
    return codes


def test_two_incarnations_of_one_task_leave_one_result_each_with_its_own_record(
    tmp_path: Path,
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.work(program)
    before = {path.name: path.read_bytes() for path in (tmp_path / "runs").iterdir()}
    cluster.requeue(1, 0)
    cluster.work(program)
    assert {path.name: path.read_bytes() for path in (tmp_path / "runs").iterdir()} == before
    assert look(cluster, tmp_path).tasks[0].attempts == 2


def test_nothing_is_published_after_term_even_while_a_computation_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    assert told_while_it_computes(cluster, signal.SIGTERM, monkeypatch) == [143, 143, 143]
    assert Store(tmp_path).finished() == set()
    assert {failure for _, failure in states(cluster, tmp_path)} == {"TERMINATED"}


@pytest.mark.slow
def test_usr2_lets_the_run_in_hand_finish_and_starts_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    assert told_while_it_computes(cluster, signal.SIGUSR2, monkeypatch) == [130, 130, 130]
    assert len(Store(tmp_path).finished()) == 3
    assert {failure for _, failure in states(cluster, tmp_path)} == {"TIME_LIMIT"}
    asyncio.run(retry_missing(tmp_path, collect(tmp_path, look(cluster, tmp_path)), slurm=cluster))
    cluster.work(program)
    assert len(Store(tmp_path).finished()) == 6
