"""What is shown of a submission while it runs."""

import asyncio
import json
from pathlib import Path

import pytest
from rich.console import Console

from catalog.errors import BadFile
from moeserve.cli import slurm_watch
from moeserve.cli.show import Format
from moeserve.cli.slurm_show import MOST_ROWS, show_counts, show_tasks
from moeserve.cli.slurm_submit import SubmitRequest
from moeserve.cli.slurm_watch import tasks_table
from slurm.submit.submission import SubmissionStore
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import look, program, small, submit

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
    assert capsys.readouterr().err == "3 pending; 6 of 6 runs missing\n"


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
    assert "2 pending, 1 failed; 6 of 6 runs missing" in shown
    assert shown.index("TIME_LIMIT") < shown.index("pending", shown.index("node"))


def test_a_table_of_many_tasks_has_those_that_need_attention_and_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path, SubmitRequest(small(num_runs=30)))
    for index in range(12):
        cluster.set(1, 70 + index, "TIMEOUT")
    found = look(cluster, tmp_path)
    capsys.readouterr()
    show_tasks(found, Format.table, every=False)
    told = capsys.readouterr()
    assert told.out.count("TIME_LIMIT") == 12
    assert told.out.count("1_") == MOST_ROWS
    assert "30 more tasks: --all" in told.err
    assert "and 2 more failed tasks: 2 TIME_LIMIT" in told.err
    assert "78 pending, 12 failed; 180 of 180 runs missing" in told.err
    show_tasks(found, Format.table, every=True)
    assert capsys.readouterr().out.count("1_") == 90
    show_tasks(found, Format.json, every=False)
    assert len(json.loads(capsys.readouterr().out)) == 90, "scripts get every task"


def test_counts_are_one_row_for_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.work(program)
    capsys.readouterr()
    show_counts(look(cluster, tmp_path), Format.json)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["done"], row["pending"], row["runs"], row["runs_missing"]) == (3, 0, 6, 0)
    assert row["runs_per_hour"] > 0
    assert row["expected_end"] is None, "nothing is to come"
