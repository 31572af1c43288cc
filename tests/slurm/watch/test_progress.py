"""The rate of a study and its expected end, by a clock that is given."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.plan import make_plan
from slurm.job.journal import JournalEntry
from slurm.watch.progress import progress
from slurm.watch.status import StudyStatus, TaskStatus
from tests.slurm.studies import small

GROUPS = make_plan(small(strategies=("tp",), num_runs=4), "simulated").groups
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def at(minutes_ago: float, event: str, run_id: str = "") -> JournalEntry:
    when = NOW - timedelta(minutes=minutes_ago)
    return JournalEntry(at=when.isoformat(timespec="milliseconds"), event=event, run_id=run_id)


def task(index: int, state: str, *entries: JournalEntry, done: int = 0) -> TaskStatus:
    return TaskStatus("t", "a", 7, index, GROUPS[index], state, done=done, entries=entries)  # type: ignore[arg-type]


def done_at(index: int, *minutes_ago: float) -> list[JournalEntry]:
    runs = GROUPS[index].runs
    return [at(m, "run_finished", run.run_id) for m, run in zip(minutes_ago, runs, strict=True)]


def study(*tasks: TaskStatus) -> StudyStatus:
    published = {e.run_id for each in tasks for e in each.entries if e.event == "run_finished"}
    missing = [run for t in tasks for run in t.group.runs if run.run_id not in published]
    return StudyStatus(tasks, tuple(missing))


def test_the_end_is_what_is_to_come_at_the_rate_of_now() -> None:
    first = task(0, "done", at(20, "started"), *done_at(0, 15, 10), done=2)
    found = study(first, task(1, "running", at(9, "started")), task(2, "pending"))
    stand = progress(found, NOW)
    assert dict(stand.states) == {"done": 1, "running": 1, "pending": 1}
    assert (stand.runs, stand.missing) == (6, 4)
    assert stand.runs_per_hour == pytest.approx(6)
    assert stand.ends_at == NOW + timedelta(minutes=40)
    assert "4 of 6 runs missing; 6 runs an hour, done about" in stand.told


def test_what_was_done_days_ago_says_nothing_of_the_rate() -> None:
    old = task(0, "done", at(5000, "started"), *done_at(0, 4990, 4980), done=2)
    waits = task(1, "pending")
    stand = progress(study(old, waits), NOW)
    assert (stand.runs_per_hour, stand.ends_at) == (None, None)
    resumed = task(2, "done", at(10, "started"), *done_at(2, 8, 6), done=2)
    assert progress(study(old, waits, resumed), NOW).runs_per_hour == pytest.approx(12)


def test_nothing_is_expected_of_runs_that_no_task_is_at() -> None:
    done = task(0, "done", at(20, "started"), *done_at(0, 15, 10), done=2)
    stand = progress(study(done, task(1, "failed"), task(2, "unknown")), NOW)
    assert stand.runs_per_hour == pytest.approx(6)
    assert stand.ends_at is None
    assert progress(StudyStatus((), ()), NOW).told == "; 0 of 0 runs missing"


def test_a_run_that_failed_is_no_progress() -> None:
    tried = task(0, "running", at(20, "started"), *done_at(0, 15, 10))
    lost = replace(study(tried), missing=tuple(GROUPS[0].runs))
    assert progress(lost, NOW).runs_per_hour is None


def test_an_end_is_not_foreseen_while_it_is_unknown_which_tasks_there_are() -> None:
    done = task(0, "done", at(20, "started"), *done_at(0, 15, 10), done=2)
    running, lost = task(1, "running", at(9, "started")), task(2, "unknown")
    assert progress(study(done, running), NOW).ends_at is not None
    stand = progress(study(done, running, lost), NOW)
    assert stand.runs_per_hour == pytest.approx(6)
    assert stand.ends_at is None


def test_a_run_counts_though_its_node_s_clock_is_ahead() -> None:
    found = study(task(0, "done", at(20, "started"), *done_at(0, 10, -3), done=2))
    assert progress(found, NOW).runs_per_hour == pytest.approx(6)
