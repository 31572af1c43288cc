"""The front is what nothing dominates, however many rows are on it."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import analysis.landscape.pareto as pareto
from analysis.landscape.pareto import pareto_front


def undominated(costs: np.ndarray) -> list[bool]:
    """The definition, row by row."""
    known = costs[~np.isnan(costs).any(axis=1)]
    return [
        not np.isnan(row).any()
        and not ((known <= row).all(axis=1) & (known < row).any(axis=1)).any()
        for row in costs
    ]


@pytest.mark.slow
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 30), st.integers(1, 5)),
        elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, np.inf, np.nan]),
    ),
    st.sampled_from([1, 8, 4096]),
)
def test_the_front_is_exactly_what_nothing_dominates(costs: np.ndarray, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pareto, "BLOCK", block)
        assert pareto_front(costs).tolist() == undominated(costs)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_hundreds_of_rows_with_and_without_ties_have_the_front_of_the_definition(
    seed: int, columns: int
) -> None:
    rng = np.random.default_rng(seed)
    apart = rng.dirichlet(np.ones(columns), size=150)
    costs = np.concatenate([apart, apart[:50], rng.random((50, columns)).round(1)])
    assert pareto_front(costs).tolist() == undominated(costs)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [2, 3, 4])
def test_rows_that_are_all_on_the_front_take_little_longer_than_others(columns: int) -> None:
    costs = np.random.default_rng(0).dirichlet(np.ones(columns), size=10_000)
    started = time.process_time()
    assert pareto_front(costs).all()
    # Comparing each with each took four seconds; this takes a tenth of one.
    assert time.process_time() - started < 2
