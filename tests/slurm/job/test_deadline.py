import time

import pytest

from slurm.job import deadline as module
from slurm.job.deadline import Deadline, deadline_of


def test_the_cluster_s_word_on_the_end_is_believed_if_it_is_nearer() -> None:
    deadline = Deadline(ends_in_s=1000.0, margin_s=10.0)
    assert deadline.fits(800.0)
    assert not deadline.fits(900.0)
    deadline.near(100.0)
    assert deadline.fits(70.0)
    assert not deadline.fits(80.0)
    deadline.near(5000.0)
    assert not deadline.fits(80.0)
    assert Deadline(ends_in_s=None, margin_s=10.0).fits(1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still; both of its readings are told apart."""
    now = [500.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "time", lambda: 1_000_000.0 + now[0])
    return now


def test_a_run_fits_with_a_fifth_to_spare_and_the_margin_kept(clock: list[float]) -> None:
    deadline = Deadline(ends_in_s=130.0, margin_s=10.0)
    assert deadline.left_s() == 120.0
    assert deadline.fits(99.9)
    assert not deadline.fits(100.0), "120 s are what 100 s may take"
    clock[0] += 120.0
    assert deadline.left_s() == 0.0
    assert not deadline.fits(None), "nothing is left for a run of unknown length either"
    clock[0] -= 1.0
    assert deadline.fits(None)


def test_a_signal_brings_an_end_where_there_was_none(clock: list[float]) -> None:
    deadline = Deadline(ends_in_s=None, margin_s=10.0)
    assert deadline.left_s() is None
    deadline.near(60.0)
    assert deadline.left_s() == 50.0
    deadline.near(60.0)
    assert deadline.left_s() == 50.0
    deadline.near(59.0)
    assert deadline.left_s() == 49.0


@pytest.mark.parametrize(
    ("end", "left"),
    [("1000800", 290.0), ("", 590.0), ("soon", 590.0), ("-5", 590.0)],
)
def test_slurm_s_own_end_of_the_job_counts_before_the_limit_asked_for(
    clock: list[float], end: str, left: float
) -> None:
    found = deadline_of({"SLURM_JOB_END_TIME": end}, margin_s=10.0, limit_s=600.0)
    assert found.left_s() == left
    assert deadline_of({}, margin_s=10.0, limit_s=None).left_s() is None
    assert time.monotonic() == 500.0
