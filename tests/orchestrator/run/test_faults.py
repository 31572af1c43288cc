"""Faults at every point: killed, disk full, I/O errors. Nothing lost, doubled or half-published.

The system calls that change the disk are counted; a run is broken off, or fails, at the n-th of
them, for n = 1, 2, … until a run meets no fault any more.
"""

import asyncio
import errno
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from catalog.errors import BadValue, StorageError
from orchestrator.experiment.experiment import Experiment
from orchestrator.results.manifests import read_manifests
from orchestrator.results.store import Store
from orchestrator.study import prepare, run_study
from orchestrator.verify import verify_directory

STUDY = Experiment(engine="simulated", strategies=("tp",), workloads=("16:4:3",), concurrency="1,2")
CALLS = ("write", "fsync", "link", "rename", "replace", "mkdir", "unlink")


@contextmanager
def faulty(
    at: int, fault: Callable[[], None], *, done: bool = False, only: tuple[str, ...] = CALLS
) -> Iterator[list[int]]:
    """Call `fault` at the `at`-th system call that changes the disk, in its place or once done."""
    count = [0]
    real = {name: getattr(os, name) for name in only}

    def wrapped(name: str) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            count[0] += 1
            if count[0] == at and done:
                real[name](*arguments, **options)
            if count[0] == at:
                fault()
            return real[name](*arguments, **options)

        return call

    for name in only:
        setattr(os, name, wrapped(name))
    try:
        yield count
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def do(root: Path, study: Experiment = STUDY) -> None:
    async def run() -> None:
        await run_study(await prepare(study), root, listen=lambda _: None)

    asyncio.run(run())


def killed_at(root: Path, at: int, study: Experiment = STUDY) -> bool:
    """Run the study in a child that is killed at one point; say whether it was."""
    child = os.fork()
    if child == 0:
        try:
            with faulty(at, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                do(root, study)
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


def failed_at_each(
    tmp_path: Path, number: int, *, done: bool = False, only: tuple[str, ...] = CALLS
) -> tuple[int, list[Exception]]:
    """Fail one change of the disk after another, and complete each study that this stopped.

    Returns the first number that no call has any more, and what stopped the studies.
    """

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    at, stopped = 1, list[Exception]()
    while True:
        root = tmp_path / str(at)
        with faulty(at, fail, done=done, only=only) as count:
            try:
                do(root)
            except Exception as error:
                stopped.append(error)
        if count[0] < at:
            return at, stopped
        check_complete(root)
        at += 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_or_failing_disk_stops_with_a_class_and_loses_nothing(
    tmp_path: Path, number: int
) -> None:
    at, stopped = failed_at_each(tmp_path, number)
    full = number in (errno.ENOSPC, errno.EDQUOT)
    for error in stopped:
        if isinstance(error, StorageError):
            assert str(error).startswith("DISK_FULL" if full else "STORAGE_FAILED")
        else:
            # Before the first server: the directory itself cannot be made.
            assert "writable directory" in str(error)
    assert at > 30


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks the test process")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_hundred_kills_at_random_points_lose_and_double_nothing(tmp_path: Path) -> None:
    do(tmp_path / "first")  # every module is loaded once, and not in each child
    tmp_path /= "study"
    study = msgspec.structs.replace(STUDY, num_runs=200)
    rng, kills, furthest = np.random.default_rng(0), 0, 0
    while kills < 200:
        assert killed_at(tmp_path, int(rng.integers(1, 60)), study), "done before 200 kills"
        kills += 1
        published = len(Store(tmp_path).finished())
        assert published >= furthest
        furthest = published
    assert 0 < furthest < 400
    do(tmp_path, study)
    runs = [manifest.record for manifest in read_manifests(tmp_path)]
    assert len({record.run_id for record in runs}) == len(runs) == 400
    assert {record.verdict for record in runs} == {"valid"}
    assert verify_directory(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.EIO, errno.EEXIST, errno.ESTALE])
def test_a_name_that_was_changed_though_the_call_failed_is_found_by_the_next_start(
    tmp_path: Path, number: int
) -> None:
    """As NFS does when a reply is lost and the call is sent again."""
    at, stopped = failed_at_each(tmp_path, number, done=True, only=("link", "rename", "replace"))
    for error in stopped:
        assert isinstance(error, StorageError | BadValue)
        assert str(error).startswith("STORAGE_FAILED") or "writable directory" in str(error)
    assert at > 3


def test_results_of_another_host_that_are_seen_late_are_not_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "runs").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(Store, "finished", lambda _: set())
        do(tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "runs").iterdir()} == before
    check_complete(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    check_complete(tmp_path)


def test_a_file_system_without_hard_links_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StorageError, match="no hard links"):
        do(tmp_path)
