import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from workloads.load.concurrency import parse_levels, parse_rates


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("1..128", (1, 2, 4, 8, 16, 32, 64, 128)),
        ("1,4,8", (1, 4, 8)),
        ("8, 1, 4, 4", (1, 4, 8)),
        ("4..64:x4", (4, 16, 64)),
        ("1..9:+2", (1, 3, 5, 7, 9)),
        ("3..20", (3, 6, 12, 20)),
        ("1..10:+4", (1, 5, 9, 10)),
        ("1..10:x3", (1, 3, 9, 10)),
        ("7", (7,)),
        ("5..5", (5,)),
        ("1..4,100", (1, 2, 4, 100)),
    ],
)
def test_levels_are_read_as_written(text: str, levels: tuple[int, ...]) -> None:
    assert parse_levels(text) == levels


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0..8",
        "8..1",
        "0",
        "-1",
        "1.5",
        "1..",
        "..8",
        "1..8:x1",
        "1..8:+0",
        "1..8:2",
        "1,,2",
        "1..8:x",
        "1e3",
        "1..9999999999",
        "²",
    ],
)
def test_bad_levels_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(BadValue, match=r"whole numbers of at least 1.*1\.\.128"):
        parse_levels(text)


def test_a_range_of_a_million_levels_is_refused_at_once() -> None:
    with pytest.raises(BadValue, match="at most 1000 levels"):
        parse_levels("1..1000000:+1")


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_range_begins_and_ends_as_asked_and_rises(a: int, b: int) -> None:
    low, high = sorted((a, b))
    levels = parse_levels(f"{low}..{high}")
    assert levels[0] == low
    assert levels[-1] == high
    assert list(levels) == sorted(set(levels))


def test_rates_are_positive_and_rise() -> None:
    assert parse_rates("4,0.5, 2,4") == (0.5, 2.0, 4.0)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "a", "1,,2", "inf", "1,inf"])
def test_bad_rates_are_refused(text: str) -> None:
    with pytest.raises(BadValue, match="requests per second above 0"):
        parse_rates(text)


def test_the_highest_level_is_a_million_and_the_most_levels_are_a_thousand() -> None:
    assert parse_levels("1000000") == (1_000_000,)
    with pytest.raises(BadValue, match="at most 1,000,000"):
        parse_levels("1000001")
    assert len(parse_levels("1..1000:+1")) == 1000
    with pytest.raises(BadValue, match="at most 1000 levels"):
        parse_levels("1..1001:+1")
