import resource

import pytest

from catalog.errors import BadValue
from workloads.client.limits import allow_open_files


def limits(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> list[tuple[int, int]]:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: raised.append(both))
    return raised


def test_the_soft_limit_is_raised_only_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = limits(monkeypatch, 1024, 20_000)
    allow_open_files(900, 900)
    assert raised == []
    allow_open_files(10_000, 10_000)
    assert raised == [(10_064, 20_000)]


def test_an_open_loop_of_many_requests_is_given_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised = limits(monkeypatch, 1024, 20_000)
    allow_open_files(16, 1_000_000)
    assert raised == [(20_000, 20_000)]


def test_more_than_the_hard_limit_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised = limits(monkeypatch, 1024, 4096)
    with pytest.raises(BadValue, match=r"got 10000.*at most 4032.*ulimit -Hn"):
        allow_open_files(10_000, 10_000)
    assert raised == []


def test_no_limit_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = limits(monkeypatch, 1024, resource.RLIM_INFINITY)
    allow_open_files(100_000, 100_000)
    assert raised == [(100_064, resource.RLIM_INFINITY)]
