"""Constraints mean what they say, in any unit, and anything else is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.landscape.constraint import parse_constraints
from catalog.errors import BadValue


@pytest.mark.parametrize(
    ("text", "column", "op", "limit"),
    [
        ("gpu_memory_mib <= 16384 MiB", "gpu_memory_mib", "<=", 16384),
        ("gpu_memory_mib<=16 GiB", "gpu_memory_mib", "<=", 16384),
        ("gpu_memory_mib < 1 GB", "gpu_memory_mib", "<", 1e9 / 2**20),
        ("tpot_s <= 50ms", "tpot_s", "<=", 0.05),
        ("p99_ttft_ms < 2 s", "p99_ttft_ms", "<", 2000),
        ("hit_rate >= 90%", "hit_rate", ">=", 0.9),
        ("duration <= 2 min", "duration", "<=", 120),
        ("tp = 2", "tp", "==", 2),
        ("x > -1.5e-3", "x", ">", -0.0015),
    ],
)
def test_a_limit_is_read_in_the_column_s_own_unit(
    text: str, column: str, op: str, limit: float
) -> None:
    (found,) = parse_constraints(text)
    assert (found.column, found.op) == (column, op)
    assert found.limit == pytest.approx(limit)


def test_several_limits_join_by_comma_or_and() -> None:
    found = parse_constraints("a <= 1, b < 2 and c >= 3")
    assert [(each.column, each.op, each.limit) for each in found] == [
        ("a", "<=", 1.0),
        ("b", "<", 2.0),
        ("c", ">=", 3.0),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "a", "a <=", "<= 3", "a <= b", "a <= 3 4", "a <= 3 <= 4", "__import__('os').system('x')",
     "a <= 1e999", "tpot_s <= 3 GiB", "perplexity <= 3 ms", "a ! 3", "a <= nan"],
)  # fmt: skip
def test_what_is_no_constraint_is_refused_as_bad_input(text: str) -> None:
    with pytest.raises(BadValue):
        parse_constraints(text)


@given(st.text(max_size=40))
def test_any_text_is_a_constraint_or_bad_input(text: str) -> None:
    try:
        for found in parse_constraints(text):
            assert math.isfinite(found.limit)
    except BadValue:
        pass


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from(["<=", "<", ">=", ">"]))
def test_there_is_an_excess_exactly_where_a_limit_is_broken(
    value: float, limit: float, op: str
) -> None:
    (found,) = parse_constraints(f"a {op} {limit!r}")
    values = np.array([value, math.nan])
    assert (found.excess(values)[0] > 0) == (not found.holds(values)[0])
    assert math.isnan(found.excess(values)[1])
    assert not found.holds(values)[1]
