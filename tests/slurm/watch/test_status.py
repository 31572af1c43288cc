"""What is shown of a submission while it runs."""

import asyncio
from pathlib import Path

import pytest
from rich.console import Console

from catalog.errors import BadFile
from moeserve.cli import slurm_watch
from moeserve.cli.slurm_watch import tasks_table
from slurm.submit.submission import SubmissionStore
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import look, submit

pytestmark = pytest.mark.usefixtures("hurried")


def test_the_watch_ends_when_all_tasks_have_and_says_what_it_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    capsys.readouterr()

    async def work(_: float) -> None:
        for index in range(3):
            cluster.set(1, index, "NODE_FAIL")

    monkeypatch.setattr("slurm.scheduler.command.asyncio.sleep", work)
    found = asyncio.run(slurm_watch.watch_tasks(tmp_path, slurm=cluster))
    assert {task.failure for task in found.tasks} == {"NODE_FAIL"}
    assert capsys.readouterr().err == "3 pending; 6 runs missing\n"


def test_a_directory_without_a_submission_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="nothing was submitted"):
        SubmissionStore(tmp_path).check()


def test_the_live_view_shows_what_failed_before_what_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.set(1, 2, "TIMEOUT")
    capsys.readouterr()
    Console(width=120, force_terminal=False).print(tasks_table(look(cluster, tmp_path), 20))
    shown = capsys.readouterr().out
    assert "2 pending, 1 failed; 6 runs missing" in shown
    assert shown.index("TIME_LIMIT") < shown.index("pending", shown.index("node"))
