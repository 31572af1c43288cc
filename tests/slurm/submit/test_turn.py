"""Two who submit from one directory at one time: whatever they ask, nothing is queued twice."""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from catalog.errors import ClusterError
from moeserve.cli.slurm_submit import SubmitRequest, submit_study
from slurm.scheduler.parse import JobInfo
from slurm.submit.turn import turn
from tests.machine import limit, until
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import SMALL

pytestmark = pytest.mark.usefixtures("hurried")


class SlowSlurm(MemorySlurm):
    """Answers late, as a real one does: others have their turn meanwhile."""

    async def submit(self, arguments: Sequence[str]) -> int:
        await asyncio.sleep(0)
        return await super().submit(arguments)

    async def queue(self, names: Sequence[str] = ()) -> list[JobInfo]:
        await asyncio.sleep(0)
        return await super().queue(names)


@pytest.fixture
def told() -> list[str]:
    return []


async def test_two_submissions_at_one_time_queue_each_task_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm.submit.turn.POLL_S", 0.001)
    slurm, request = SlowSlurm(), SubmitRequest(SMALL)
    both = [submit_study(request, tmp_path, dry_run=False, slurm=slurm) for _ in range(2)]
    first, second = await asyncio.gather(*both)
    assert sorted((len(first), len(second))) == [0, 1]
    assert len(await slurm.queue()) == 3


async def test_who_waits_says_so_and_does_not_wait_for_ever(
    tmp_path: Path, told: list[str]
) -> None:
    async with turn(tmp_path, told.append):
        with pytest.raises(ClusterError, match="another submission has been at work"):
            async with turn(tmp_path, told.append, longest_s=0.0):
                pytest.fail("two have the turn")
    assert told == [f"another submission is at work in {tmp_path}: waiting for its end"]
    async with turn(tmp_path, told.append):
        assert len(told) == 1


async def test_a_directory_without_locks_says_what_may_happen(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    async with turn(tmp_path, told.append):
        assert "has no locks" in told[0]


@pytest.fixture
def locked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is another user's, and shut."""

    def shut(path: Path) -> None:
        path.touch()
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("slurm.submit.turn.lock_file", shut)


@pytest.mark.usefixtures("locked_out")
@pytest.mark.parametrize("writable", [True, False])
async def test_another_user_s_lock_on_a_shared_directory_is_not_passed_over(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: writable)
    with contextlib.ExitStack() as stack:
        if writable:
            stack.enter_context(pytest.raises(ClusterError, match=r"chmod g\+rw .*/slurm/\.lock"))
        async with turn(tmp_path, told.append):
            assert not writable


SQUEUE = """\
[ -s {folder}/jobs ] || exit 0
for i in 0 1; do awk -F'|' -v i=$i '{{print $1"_"i"|"$1"|PENDING|None|N/A|N/A||"$2}}' {folder}/jobs
done
"""
SBATCH = """\
for word in "$@"; do case $word in --job-name=*) name=${{word#--job-name=}};; esac; done
echo asked >>{folder}/asked
until [ -e {folder}/go ]; do sleep 0.05; done
echo "$(($(wc -l <{folder}/asked) + 11))|$name" >>{folder}/jobs
tail -n 1 {folder}/jobs | cut -d'|' -f1
"""
SCONTROL = """\
echo 'AccountingStorageType = accounting_storage/none
ClusterName = a
KillWait = 30 sec
MaxArraySize = 1001
MaxJobCount = 10000
SLURM_VERSION = 22.05.8'
"""
SACCT = "echo accounting storage is disabled >&2; exit 1"


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_two_processes_queue_each_task_once_though_the_first_is_killed_while_it_submits(
    tmp_path: Path, killed: bool
) -> None:
    bodies = {"sbatch": SBATCH, "squeue": SQUEUE, "scontrol": SCONTROL, "sacct": SACCT}
    for name, body in bodies.items():
        (tmp_path / name).write_text("#!/bin/sh\n" + body.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    study = tmp_path / "study.yaml"
    study.write_text(json.dumps({"engine": "simulated", "strategies": ["tp", "ep"],
                                 "workloads": ["16:8:6"], "concurrency": "1"}))  # fmt: skip
    words = ["slurm", "submit", str(study), "-o", str(tmp_path / "out")]

    def begin(name: str) -> subprocess.Popen[bytes]:
        with (tmp_path / name).open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "moeserve", *words],
                env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
                stderr=said,
            )

    first = begin("first")
    until((tmp_path / "asked").exists, 30)
    if killed:
        first.send_signal(signal.SIGKILL)
    second = begin("second")
    waits = f"another submission is at work in {tmp_path / 'out'}"
    until(lambda: waits in (tmp_path / "second").read_text() or second.poll() is not None, 30)
    (tmp_path / "go").touch()
    assert second.wait(limit(60)) == 0
    assert first.wait(limit(60)) == (-signal.SIGKILL if killed else 0)
    assert "nothing to submit" in (tmp_path / "second").read_text()
    assert (tmp_path / "asked").read_text() == "asked\n"
