"""Faults at every point: killed, disk full, I/O errors. Nothing lost, doubled or half-published.

The system calls that change the disk are counted; a run is broken off, or fails, at the n-th of
them, for n = 1, 2, … until a run meets no fault any more.
"""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from catalog.errors import StorageError
from orchestrator.experiment import Experiment
from orchestrator.store import read_manifests
from orchestrator.study import prepare, run_study
from orchestrator.verify import verify_directory

STUDY = Experiment(engine="simulated", strategies=("tp",), workloads=("16:4:3",), concurrency="1,2")
CALLS = ("write", "fsync", "link", "rename", "replace", "mkdir", "unlink")


@contextmanager
def faulty(at: int, fault: Callable[[], None]) -> Iterator[list[int]]:
    """Call `fault` in place of the `at`-th system call that changes the disk."""
    count = [0]
    real = {name: getattr(os, name) for name in CALLS}

    def wrapped(name: str) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            count[0] += 1
            if count[0] == at:
                fault()
            return real[name](*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(name))
    try:
        yield count
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def do(root: Path) -> None:
    async def run() -> None:
        await run_study(await prepare(STUDY), root, listen=lambda _: None)

    asyncio.run(run())


def killed_at(root: Path, at: int) -> bool:
    """Run the study in a child that is killed at one point; say whether it was."""
    child = os.fork()
    if child == 0:
        try:
            with faulty(at, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                do(root)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def check_complete(root: Path) -> None:
    do(root)
    runs = [manifest.record.run_id for manifest in read_manifests(root)]
    assert len(runs) == len(set(runs)) == 2
    assert {manifest.record.verdict for manifest in read_manifests(root)} == {"valid"}
    assert verify_directory(root) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks the test process")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_study_killed_at_any_change_of_the_disk_resumes_to_the_same_result(
    tmp_path: Path,
) -> None:
    at = 1
    while killed_at(tmp_path / str(at), at):
        check_complete(tmp_path / str(at))
        at += 1
    assert at > 30, "a study of two runs changes the disk more often than that"


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_or_failing_disk_stops_with_a_class_and_loses_nothing(
    tmp_path: Path, number: int
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    at = 1
    while True:
        root = tmp_path / str(at)
        with faulty(at, fail) as count:
            try:
                do(root)
            except StorageError as error:
                full = number in (errno.ENOSPC, errno.EDQUOT)
                assert str(error).startswith("DISK_FULL" if full else "STORAGE_FAILED")
            except Exception as error:
                # Before the first server: the directory itself cannot be made.
                assert "writable directory" in str(error)
        if count[0] < at:
            break
        check_complete(root)
        at += 1
    assert at > 30
