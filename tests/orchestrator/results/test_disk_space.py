"""Disk room: a study that would fill the disk is refused, and one that runs into it stops clean."""

import asyncio
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from catalog.errors import StorageError
from orchestrator.experiment.experiment import Experiment
from orchestrator.run.events import RunEvent, RunFinished
from orchestrator.study import prepare, run_study
from orchestrator.verify import verify_directory

Usage = namedtuple("Usage", "total used free")
STUDY = Experiment(engine="simulated", strategies=("tp",), workloads=("16:4:3",), concurrency="1,2")


def do(root: Path, events: list[RunEvent] | None = None) -> None:
    async def run() -> None:
        await run_study(await prepare(STUDY), root, listen=(events or []).append)

    asyncio.run(run())


def test_too_little_room_is_refused_before_anything_starts_with_need_and_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 20 * 2**20))
    events: list[RunEvent] = []
    with pytest.raises(StorageError, match=r"^DISK_LOW: .* has 20 MiB free .* may need 64 MiB"):
        do(tmp_path / "out", events)
    assert events == []


def test_room_that_runs_out_stops_between_runs_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([10**12, 10**12, 0])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, next(answers)))
    with pytest.raises(StorageError, match="DISK_LOW"):
        do(tmp_path)
    assert len(list((tmp_path / "runs").iterdir())) == 1
    monkeypatch.undo()
    events: list[RunEvent] = []
    asyncio.run(_again(tmp_path, events))
    assert sum(isinstance(event, RunFinished) for event in events) == 1
    assert verify_directory(tmp_path) == []


async def _again(root: Path, events: list[RunEvent]) -> None:
    await run_study(await prepare(STUDY), root, listen=events.append)


def test_the_room_asked_for_grows_with_the_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Experiment(engine="simulated", strategies=("tp",), workloads=("16:512:100000",))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 10**9))
    study = asyncio.run(prepare(large))
    with pytest.raises(StorageError, match="DISK_LOW"):
        asyncio.run(run_study(study, tmp_path, listen=lambda _: None))
