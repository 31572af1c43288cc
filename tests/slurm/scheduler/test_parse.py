"""What Slurm prints, read: recorded text of Slurm 22.05 and odd input."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.scheduler.nodes import parse_nodes
from slurm.scheduler.parse import (
    JobInfo,
    TaskId,
    UnreadableAnswer,
    parse_accounting,
    parse_config,
    parse_duration,
    parse_indices,
    parse_queue,
    parse_submitted,
    parse_task_ids,
    write_duration,
    write_indices,
)
from slurm.scheduler.states import FAILED, PENDING, RUNNING, class_of, state_of

# squeue -h -r -o '%i|%F|%T|%r|%S|%e|%N|%j' on Slurm 22.05.8.
QUEUE = """\
1_4|1|PENDING|Resources|2026-11-22T02:28:00|N/A||moeserve-x-0
1_5|1|PENDING|JobArrayTaskLimit|N/A|N/A||moeserve-x-0
3|3|PENDING|Dependency|N/A|N/A||moeserve-x-collect
1_0|1|RUNNING|None|2026-11-22T02:18:04|2026-11-22T02:23:04|node1|moeserve-x-0
"""
# sacct -n -P -X -D -o JobID,JobName,State,ExitCode,Start,End,NodeList: a requeued task twice.
ACCOUNTS = """\
2_0|moeserve-x-0|REQUEUED|0:0|2026-11-22T02:24:31|2026-11-22T02:24:40|node1
2_0|moeserve-x-0|COMPLETED|0:0|2026-11-22T02:24:42|2026-11-22T02:25:02|node2
2_1|moeserve-x-0|CANCELLED by 0|0:0|2026-11-22T02:24:31|2026-11-22T02:24:50|node1
2_[2-3]|moeserve-x-0|PENDING|0:0|Unknown|Unknown|None assigned
"""


def test_a_queue_is_read_task_by_task() -> None:
    jobs = parse_queue(QUEUE)
    assert [str(each.task) for each in jobs] == ["1_4", "1_5", "3", "1_0"]
    assert jobs[0].reason == "Resources"
    assert jobs[0].start == "2026-11-22T02:28:00"
    assert jobs[1].start == ""
    assert (jobs[3].state, jobs[3].node, jobs[3].reason) == ("RUNNING", "node1", "")


@pytest.mark.parametrize("cut", ["1_4", "1_[5-9]", "1_4|1", "1_4|1|PENDING|Resources|N/A"])
def test_a_row_that_is_cut_off_is_not_passed_over(cut: str) -> None:
    with pytest.raises(UnreadableAnswer):
        parse_queue(f"CLUSTER: a100\n{QUEUE}{cut}")


def test_of_a_requeued_task_the_last_record_counts() -> None:
    jobs = {str(each.task): each for each in parse_accounting(ACCOUNTS)}
    assert jobs["2_0"].state == "COMPLETED"
    assert jobs["2_0"].node == "node2"
    assert jobs["2_1"].state == "CANCELLED by 0"
    assert jobs["2_2"] == JobInfo(TaskId(2, 2), "moeserve-x-0", "PENDING", exit_code="0:0")
    assert set(jobs) == {"2_0", "2_1", "2_2", "2_3"}


@given(st.text(max_size=200))
def test_no_text_breaks_a_reader(text: str) -> None:
    for parse in (parse_queue, parse_accounting):
        with contextlib.suppress(UnreadableAnswer):
            assert isinstance(parse(text), list)
    assert isinstance(parse_config(text), dict)
    assert isinstance(parse_nodes(text), list)
    assert isinstance(list(parse_task_ids(text)), list)
    parse_submitted(text)
    state_of(text)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("12", ["12"]),
        ("12_3", ["12_3"]),
        ("12_[4-6%4]", ["12_4", "12_5", "12_6"]),
        ("12_[0,2-6:2]", ["12_0", "12_2", "12_4", "12_6"]),
        ("12.batch", []),
        ("12_3.extern", []),
        ("", []),
    ],
)
def test_ids_of_jobs_and_tasks(text: str, ids: list[str]) -> None:
    assert [str(each) for each in parse_task_ids(text)] == ids


@given(st.lists(st.integers(0, 5000), min_size=1))
def test_indices_survive_writing_and_reading(indices: list[int]) -> None:
    assert parse_indices(write_indices(indices)) == sorted(set(indices))


@given(st.integers(0, 10**8))
def test_durations_survive_writing_and_reading(seconds: int) -> None:
    assert parse_duration(write_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 300), ("5:30", 330), ("1:00:00", 3600), ("2-12", 216000), ("1-0:30", 88200),
     ("1-02:03:04", 93784), ("UNLIMITED", None)],
)  # fmt: skip
def test_slurm_s_durations(text: str, seconds: float | None) -> None:
    """The notations of sbatch(1), --time."""
    assert parse_duration(text) == seconds


def test_an_odd_duration_is_refused() -> None:
    for text in ("", "1h", "-5", "1:2:3:4", "1-", "$(reboot)"):
        with pytest.raises(ValueError, match="not a duration"):
            parse_duration(text)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("node1", ["node1"]),
        ("node[1-3]", ["node1", "node2", "node3"]),
        ("gpu[08-10,12]-ib,login", ["gpu08-ib", "gpu09-ib", "gpu10-ib", "gpu12-ib", "login"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("", []),
    ],
)
def test_lists_of_nodes(text: str, nodes: list[str]) -> None:
    """As `scontrol show hostnames` writes them out."""
    assert parse_nodes(text) == nodes


def test_the_id_of_a_submitted_job_with_and_without_a_cluster() -> None:
    assert parse_submitted("12\n") == 12
    assert parse_submitted("sbatch: warning: something\n12;a100\n") == 12
    assert parse_submitted("sbatch: error: no") is None
    wrapped = "Welcome to System 3\n--> Verifying valid submit host (login4)...OK\n"
    assert parse_submitted(f"{wrapped}Submitted batch job 12\n") == 12
    assert parse_submitted(f"{wrapped}Submitted batch job 12 on cluster a100\n") == 12


def test_the_configuration_of_a_cluster() -> None:
    found = parse_config("KillWait                = 30 sec\nMaxArraySize  = 1001\n\nodd line\n")
    assert found == {"KillWait": "30 sec", "MaxArraySize": "1001"}


def test_no_state_that_slurm_knows_is_taken_for_success() -> None:
    for state in ("COMPLETED", *FAILED, *PENDING, *RUNNING, "CANCELLED by 1000", "", "NEW_ONE"):
        assert state_of(state) != "done"


@pytest.mark.parametrize(
    ("state", "exit_code", "log", "failure"),
    [
        ("TIMEOUT", "0:0", "", "TIME_LIMIT"),
        ("NODE_FAIL", "1:0", "", "NODE_FAIL"),
        ("OUT_OF_MEMORY", "0:125", "", "OUT_OF_MEMORY"),
        ("FAILED", "0:9", "error: StepId=2.batch exceeded memory limit (1 > 0)", "OUT_OF_MEMORY"),
        ("FAILED", "0:9", "", "FAILED"),
        ("FAILED", "1:0", "exceeded memory limit", "FAILED"),
        ("CANCELLED by 1000", "0:15", "", "CANCELLED"),
        ("COMPLETED", "0:0", "", "NO_RECORD"),
        ("CANCELLED+", "0:15", "", "CANCELLED"),
        ("OUT_OF_ME+", "0:125", "", "OUT_OF_MEMORY"),
        ("RE+", "0:0", "", "UNKNOWN"),
        ("PREEMPTED", "0:15", "", "PREEMPTED"),
        ("SOMETHING_NEW", "0:0", "", "UNKNOWN"),
    ],
)  # fmt: skip
def test_how_a_task_ended_that_could_not_say_so(
    state: str, exit_code: str, log: str, failure: str
) -> None:
    assert class_of(state, exit_code, log) == failure


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        ([0], "0"),
        ([0, 1], "0-1"),
        ([3, 0, 1, 2, 2, 7], "0-3,7"),
        ([0, 2, 4], "0,2,4"),
        (list(range(1000)), "0-999"),
        ([], ""),
    ],
)
def test_indices_are_written_as_ranges(indices: list[int], text: str) -> None:
    assert write_indices(indices) == text


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("5", [5]),
        ("2-4", [2, 3, 4]),
        ("2-7:2", [2, 4, 6]),
        ("0,x,3", [0, 3]),
        ("4-2", []),
        ("1-5:0", []),
        ("0-1000001,7", [7]),
        ("0-1000000:1000000", [0, 1_000_000]),
    ],
)
def test_indices_beyond_reason_are_passed_over(text: str, indices: list[int]) -> None:
    assert parse_indices(text) == indices


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0-00:00:00"), (59.9, "0-00:00:59"), (3661, "0-01:01:01"), (90061, "1-01:01:01")],
)
def test_durations_are_written_as_sbatch_takes_them(seconds: float, text: str) -> None:
    assert write_duration(seconds) == text


def test_every_field_of_a_task_is_read_from_its_place() -> None:
    (queued,) = parse_queue("7_2|7|RUNNING|(Priority)|2026-01-01T00:00:00|N/A|n1|name\n")
    assert queued == JobInfo(
        TaskId(7, 2), "name", "RUNNING", reason="Priority", start="2026-01-01T00:00:00", node="n1"
    )
    (kept,) = parse_accounting("7_2|name|FAILED|1:0|2026-01-01T00:00:00|Unknown|n1\n")
    assert kept == JobInfo(
        TaskId(7, 2), "name", "FAILED", start="2026-01-01T00:00:00", node="n1", exit_code="1:0"
    )
    for unknown in ("N/A", "Unknown", "None", "(null)"):
        (never,) = parse_queue(f"7|7|PENDING|None|{unknown}|{unknown}||name\n")
        assert (never.start, never.end, never.reason, never.node) == ("", "", "", "")


def test_a_row_that_cannot_be_read_is_not_passed_over() -> None:
    for row in ("7|7|PENDING|None", "7_[1,3,...]|7|PENDING|None|N/A|N/A||name"):
        with pytest.raises(UnreadableAnswer, match="7"):
            parse_queue(f"{row}\n")
    for row in ("7|name|FAILED", "7_[1,3,...]|name|PENDING|0:0|Unknown|Unknown|"):
        with pytest.raises(UnreadableAnswer, match="7"):
            parse_accounting(f"{row}\n")
    assert parse_queue("Welcome to the cluster\n\n") == []
    assert parse_accounting("7.batch|name|FAILED|1:0|Unknown|Unknown|n1\n") == []
    (others,) = parse_queue("7+1|7|PENDING|None|N/A|N/A||a|b\n")
    assert (others.task, others.name) == (TaskId(7), "a|b")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("unlimited", None), ("INFINITE", None), ("0", 0), (" 90 ", 5400), ("3-0", 259_200),
     ("2-1:02", 176_520), ("10:00", 600)],
)  # fmt: skip
def test_more_of_slurm_s_durations(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds
