"""Which state a task is in, by what its journal, its results and Slurm say of it."""

from pathlib import Path

import pytest

from catalog.errors import ClusterError
from orchestrator.plan import make_plan
from slurm.job.journal import JournalEntry
from slurm.scheduler.parse import JobInfo, TaskId
from slurm.scheduler.states import may_be_active
from slurm.watch.jobs import SlurmJobs
from slurm.watch.status import StudyStatus, TaskStatus, decide_state
from tests.slurm.studies import small

GROUP = make_plan(small(strategies=("tp",)), "simulated").groups[0]


def entry(event: str, **fields: object) -> JournalEntry:
    return JournalEntry(at="then", event=event, **fields)  # type: ignore[arg-type]


def task(*entries: JournalEntry, **fields: object) -> TaskStatus:
    base = {"token": "t", "array": "a", "job": 7, "task": 2, "group": GROUP, "state": "unknown"}
    return TaskStatus(**{**base, **fields}, entries=entries)  # type: ignore[arg-type]


def told(state: str, **fields: str) -> JobInfo:
    return JobInfo(TaskId(7, 2), "a", state, **fields)


def decided(found: TaskStatus, info: JobInfo | None, *, known: bool = True) -> tuple[str, str]:
    task = decide_state(found, info, known=known)
    return task.state, task.failure


@pytest.mark.parametrize(
    ("entries", "info", "state", "failure"),
    [
        ((), told("PENDING"), "pending", ""),
        ((entry("ended", verdict="failed"),), told("RUNNING"), "running", ""),
        ((entry("ended", verdict="done"),), None, "failed", "RESULTS_MISSING"),
        ((entry("ended", verdict="failed"),), None, "failed", "RUNS_FAILED"),
        ((entry("ended", verdict="interrupted"),), None, "failed", "TIME_LIMIT"),
        ((entry("ended", verdict="terminated"),), None, "failed", "TERMINATED"),
        ((entry("ended", verdict="otherwise"),), None, "failed", "FAILED"),
        ((), told("TIMEOUT"), "failed", "TIME_LIMIT"),
        ((), told("CANCELLED by 0"), "cancelled", "CANCELLED"),
        ((), told("COMPLETED"), "failed", "NO_RECORD"),
        ((), told("BRAND_NEW"), "unknown", "UNKNOWN"),
        ((), told("REVOKED"), "unknown", "UNKNOWN"),
        ((), told("EXPEDITING"), "pending", ""),
        ((), None, "gone", "NO_RECORD"),
    ],
)
def test_a_task_s_own_word_counts_before_slurm_s(
    entries: tuple[JournalEntry, ...], info: JobInfo | None, state: str, failure: str
) -> None:
    assert decided(task(*entries), info) == (state, failure)


def test_published_runs_are_done_whatever_anybody_says() -> None:
    runs = len(GROUP.runs)
    ended = entry("ended", verdict="failed")
    found = decide_state(task(ended, done=runs), told("FAILED", reason="x"), known=True)
    assert (found.state, found.failure, found.reason) == ("done", "", "")
    assert decided(task(ended, done=runs - 1), None) == ("failed", "RUNS_FAILED")


def test_what_nobody_can_say_is_unknown_and_what_slurm_has_not_is_gone() -> None:
    held = decide_state(task(job=None), None, known=True)
    assert (held.state, held.reason) == ("held back", "Slurm has not taken it")
    assert decided(task(job=None), None, known=False) == ("unknown", "")
    assert decided(task(), None, known=False) == ("unknown", "")
    assert decided(task(), told("NODE_FAIL"), known=False) == ("unknown", "NODE_FAIL")
    assert decided(task(), told("PENDING"), known=False) == ("pending", "")
    ended = entry("ended", verdict="failed")
    assert decided(task(ended), None, known=False) == ("unknown", "RUNS_FAILED")
    assert task(job=None).task_id == ""
    assert task().task_id == "7_2"


def test_the_server_that_failed_last_names_the_failure() -> None:
    entries = (
        entry("group_failed", text="OOM_KV: first"),
        entry("group_failed", text="OOM_WEIGHTS: last"),
        entry("group_failed", text="no code at all"),
        entry("run_finished", text="OOM_GRAPH: not a server"),
        entry("ended", verdict="failed"),
    )
    assert decided(task(*entries), None) == ("failed", "OOM_WEIGHTS")
    own = entry("ended", verdict="failed", text="RAY_START: n1 calls itself 127.0.1.1")
    assert decided(task(own), None) == ("failed", "RAY_START"), "the task's own last word"


@pytest.mark.parametrize(
    ("state", "failure"),
    [("TIMEOUT", "TIME_LIMIT"), ("PREEMPTED", "PREEMPTED"), ("FAILED", "TERMINATED"),
     ("COMPLETED", "TERMINATED"), ("BRAND_NEW", "TERMINATED")],
)  # fmt: skip
def test_who_was_told_to_end_was_told_by_whom_slurm_names(state: str, failure: str) -> None:
    ended = entry("ended", verdict="terminated")
    assert decided(task(ended), told(state)) == ("failed", failure)


def test_where_a_task_waits_or_runs_is_shown() -> None:
    waits = decide_state(
        task(), told("PENDING", reason="Resources", start="soon", node=""), known=True
    )
    assert (waits.reason, waits.start, waits.node) == ("Resources", "soon", "")
    own = decide_state(task(entry("started", node="n7")), told("RUNNING", node="n1"), known=True)
    assert own.node == "n7", "the task knows it better"


@pytest.mark.parametrize(
    ("queue", "accounting", "seen"),
    [
        ("RUNNING", None, "RUNNING"),
        (None, "COMPLETED", "COMPLETED"),
        ("RUNNING", "COMPLETED", "RUNNING"),
        ("FAILED", "COMPLETED", "COMPLETED"),
        ("FAILED", "RUNNING", "FAILED"),
        (None, "RUNNING", None),
        (None, None, None),
    ],
)
def test_of_queue_and_accounts_the_one_that_is_ahead_is_believed(
    queue: str | None, accounting: str | None, seen: str | None
) -> None:
    listed = [{(7, 2): told(state)} if state else {} for state in (queue, accounting)]
    jobs = SlurmJobs(listed[0], listed[1], {})
    found = jobs.info_of(7, 2, "a")
    assert (found and found.state) == seen
    assert jobs.info_of(7, 2, "b") is None, "a controller that lost its state gives an id twice"


def test_what_the_accounts_call_running_runs_only_while_the_queue_is_silent() -> None:
    kept = {(7, 2): told("RUNNING")}
    found = SlurmJobs({}, kept, {}, queue_silent="Connection refused").info_of(7, 2, "a")
    assert found is not None
    assert found.state == "RUNNING"
    forgotten = SlurmJobs({}, kept, {})
    gone = decide_state(task(), forgotten.info_of(7, 2, "a"), known=forgotten.knows(7, 2, "a"))
    assert (gone.state, gone.failure) == ("gone", "NO_RECORD")


def test_the_end_of_the_log_is_the_server_s_or_the_task_s_own(tmp_path: Path) -> None:
    log = tmp_path / "7_2.log"
    log.write_text("a" * 5000 + "\x1b[31mred\n\tend")
    own = task(log=log)
    assert own.log_tail() == ("a" * 5000 + " [31mred\n\tend")[-4000:]
    server = task(entry("x", log_tail="first"), entry("x", log_tail="last"), entry("x"), log=log)
    assert server.log_tail() == "last"
    assert task(log=tmp_path / "none.log").log_tail() == ""
    assert task().log_tail() == ""


def test_only_what_waits_or_runs_is_active() -> None:
    states = ("pending", "running", "done", "failed", "held back", "unknown", "cancelled", "gone")
    every = tuple(task(state=state) for state in states)
    assert [each.state for each in StudyStatus(every, ()).active] == [
        "pending", "running",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("queue", "accounting", "silent", "knows"),
    [
        ("PENDING", None, ("", "gone"), True),
        ("FAILED", None, ("", "gone"), True),
        (None, None, ("", "gone"), False),
        (None, None, ("gone", ""), False),
        (None, "RUNNING", ("gone", ""), True),
        (None, "NODE_FAIL", ("gone", ""), False),
        (None, "NODE_FAIL", ("", ""), True),
        (None, None, ("", ""), True),
    ],
)
def test_who_must_be_heard_before_a_task_s_place_is_known(
    queue: str | None, accounting: str | None, silent: tuple[str, str], knows: bool
) -> None:
    listed = [{(7, 2): told(state)} if state else {} for state in (queue, accounting)]
    assert SlurmJobs(listed[0], listed[1], {}, *silent).knows(7, 2, "a") is knows
    assert SlurmJobs({}, {}, {}, *silent).knows(None, 2, "a") is (silent == ("", ""))
    own_word = SlurmJobs({}, {}, {}, *silent).knows(7, 2, "a", ended=True)
    assert own_word is (not silent[0]), "it may have been queued again"


def test_a_state_that_is_new_to_us_may_be_one_of_those_that_wait_or_run() -> None:
    found = StudyStatus((decide_state(task(), told("HIBERNATING"), known=True),), ())
    with pytest.raises(ClusterError, match=r"calls it HIBERNATING.*nothing was submitted"):
        found.check_known("nothing was submitted")
    found.check_known("nothing was submitted", groups=("another",))
    assert may_be_active("HIBERNATING")
    assert not may_be_active("COMPLETED")
