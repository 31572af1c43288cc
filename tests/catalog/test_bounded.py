import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.bounded import COUNTS, INT32_MOST, MEASURED, TOKENS, RealRange, WholeRange
from catalog.errors import BadValue, UnknownName

HUGE = pytest.param(10**5000, id="huge")
BYTE = WholeRange(0, 255)
ANYTHING = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(),
    st.lists(st.integers()),
    st.just(10**5000),
    st.just(-(10**5000)),
)


@given(ANYTHING)
def test_what_comes_through_is_a_whole_number_of_the_range(value: object) -> None:
    found = BYTE.or_none(value)
    assert found is None or (type(found) is int and 0 <= found <= 255)
    assert (found is not None) == (type(value) is int and 0 <= value <= 255)


@given(ANYTHING)
def test_what_comes_through_is_a_finite_number_of_the_range(value: object) -> None:
    found = RealRange(-1.5, 1.5).or_none(value)
    assert found is None or (type(found) is float and -1.5 <= found <= 1.5)


@pytest.mark.parametrize("value", [0, 255])
def test_both_ends_belong_to_the_range(value: int) -> None:
    assert BYTE.require(value, "a byte") == value


@pytest.mark.parametrize("value", [-1, 256, True, 1.0, "1", None, math.nan, HUGE])
def test_what_is_beyond_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(
        BadValue, match=r"a byte: got .*, allowed: a whole number from 0 to 255"
    ) as e:
        BYTE.require(value, "a byte", where="file.bin")
    assert str(e.value).startswith("file.bin: ")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, pytest.param(10**400, id="1e400"), 1e300, True, "1"]
)
def test_a_reading_that_is_not_finite_or_too_large_is_refused(value: object) -> None:
    assert MEASURED.or_none(value) is None
    with pytest.raises(BadValue, match="a reading: got"):
        MEASURED.require(value, "a reading")


@given(st.one_of(st.integers(), st.floats(), st.just(10**5000)))
def test_a_clamped_number_is_of_the_range(value: float) -> None:
    assert BYTE.clamp(value) in BYTE
    assert MEASURED.clamp(value) in MEASURED


@given(st.integers(-300, 300))
def test_digits_are_read_as_their_number(value: int) -> None:
    assert BYTE.parse(f" {value} ") == (value if 0 <= value <= 255 else None)


@pytest.mark.parametrize("text", ["", "+", "--1", "1_0", "٣", "0x1", "1.0", "9" * 5000, "1 1"])
def test_what_is_no_plain_number_is_none(text: str) -> None:
    assert TOKENS.parse(text) is None


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e400", "9" * 400, "x"])
def test_text_of_no_finite_number_is_none(text: str) -> None:
    assert MEASURED.parse(text) is None
    assert MEASURED.parse("2.5") == 2.5


def test_the_ranges_end_where_their_columns_do() -> None:
    assert TOKENS.most == INT32_MOST == 2147483647
    assert float(COUNTS.most - 1) != float(COUNTS.most) == float(COUNTS.most + 1)


@pytest.mark.parametrize("given_value", [pytest.param("x" * 100_000, id="text"), HUGE])
def test_a_message_repeats_no_value_of_any_length(given_value: object) -> None:
    assert len(str(BadValue("a flag", given_value, "less"))) < 500


def test_a_message_repeats_no_name_of_any_length() -> None:
    assert len(str(UnknownName("model", "x" * 1_000_000, ["a", "b"]))) < 600
