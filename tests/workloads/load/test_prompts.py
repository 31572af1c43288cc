import numpy as np
import pytest
from scipy import stats

from workloads.load.prompts import token_prompts


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_prompts_have_the_exact_length_and_only_ordinary_ids() -> None:
    prompts = token_prompts(rng(), count=50, length=33, vocab=100, reserved=(0, 1, 99))
    assert prompts.shape == (50, 33)
    assert prompts.dtype == np.int32
    assert prompts.min() == 2
    assert prompts.max() == 98


def test_no_two_prompts_are_alike_even_if_nearly_all_possible_ones_are_drawn() -> None:
    prompts = token_prompts(rng(), count=15, length=4, vocab=2)
    assert len({tuple(row) for row in prompts.tolist()}) == 15


def test_ids_are_uniform() -> None:
    counts = np.bincount(token_prompts(rng(), count=1000, length=64, vocab=64).ravel())
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_generator_alone_decides_the_prompts() -> None:
    first, again, other = (
        token_prompts(rng(seed), count=3, length=8, vocab=1000) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_more_prompts_than_there_can_be_are_refused() -> None:
    with pytest.raises(ValueError, match="5 different prompts of 2 tokens"):
        token_prompts(rng(), count=5, length=2, vocab=4, reserved=(0, 1))
