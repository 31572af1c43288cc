import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.load.search import LoadSearch


def tried(search: LoadSearch, capacity: float) -> list[float]:
    """Drive a search against a server that meets its SLOs up to `capacity`."""
    levels = []
    while (level := search.next_level()) is not None:
        levels.append(level)
        search.record(level, met=level <= capacity)
        assert len(levels) < 100
    return levels


def test_levels_double_and_then_the_border_is_halved() -> None:
    assert tried(LoadSearch(limit=64), 11) == [1, 2, 4, 8, 16, 12, 10, 11]


def test_a_start_that_fails_is_halved_downwards() -> None:
    search = LoadSearch(start=64)
    assert tried(search, 20) == [64, 32, 16, 24, 20, 22, 21]
    assert search.passed == 20


def test_a_server_that_never_meets_its_slos_has_no_answer() -> None:
    search = LoadSearch(start=8)
    assert tried(search, 0) == [8, 4, 2, 1]
    assert search.passed is None


def test_the_limit_is_tried_and_is_the_most() -> None:
    search = LoadSearch(limit=100)
    assert tried(search, 10**9)[-1] == search.passed == 100


def test_an_outcome_that_was_not_asked_for_is_refused() -> None:
    search = LoadSearch()
    search.record(1, met=True)
    search.record(2, met=False)
    with pytest.raises(ValueError, match="not asked for"):
        search.record(4, met=True)


@given(st.integers(1, 1024), st.integers(1, 1024))
def test_the_highest_whole_level_is_found_to_within_the_resolution(
    start: int, capacity: int
) -> None:
    search = LoadSearch(start=start)
    levels = tried(search, capacity)
    assert search.passed is not None
    assert search.passed <= capacity <= max(search.passed * 1.05 + 1, search.passed + 1)
    assert all(level == int(level) for level in levels)
    assert len(levels) <= 22


@given(st.floats(0.02, 900))
def test_rates_are_found_to_within_five_percent(capacity: float) -> None:
    search = LoadSearch(start=1.0, smallest=0.01, whole=False)
    tried(search, capacity)
    assert search.passed is not None
    assert search.passed <= capacity <= search.passed * 1.05 + 1e-9
