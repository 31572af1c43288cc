"""Perplexity, agreement and divergence: definitions, bounds, and windows of a text."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadFile, BadValue
from workloads.quality.compare import ScoreComparison, coarse_kl, compare
from workloads.quality.scores import ABSENT, Scores, mean_interval
from workloads.quality.windows import read_text, windows_of

VOCAB = 12


def scores_from(logits: np.ndarray, tokens: np.ndarray, top: int) -> Scores:
    """What a server would say: the `top` likeliest tokens and the text's own of each position."""
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    own_ids = tokens[:, 1:, None]
    own = np.take_along_axis(logprobs, own_ids, -1)
    order = np.argsort(-logprobs, axis=-1)[..., :top]
    listed = np.take_along_axis(logprobs, order, -1)
    extra = np.where((order == own_ids).any(-1, keepdims=True), ABSENT, own_ids)
    return Scores(
        tokens,
        own[..., 0],
        np.concatenate([order, extra], -1).astype(np.int32),
        np.concatenate([listed, own], -1),
    )


def pair(seed: int, top: int, spread: float = 2.0) -> tuple[Scores, Scores, np.ndarray]:
    """Two models over one text, and the exact KL of each position."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(VOCAB, size=(5, 9)).astype(np.int32)
    p, q = (rng.normal(size=(5, 8, VOCAB)) * spread for _ in range(2))
    logs = [logits - np.log(np.exp(logits).sum(-1, keepdims=True)) for logits in (p, q)]
    exact = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1)
    return scores_from(p, tokens, top), scores_from(q, tokens, top), exact


@given(st.integers(0, 10_000), st.integers(1, VOCAB))
def test_the_divergence_over_lists_never_exceeds_that_over_the_vocabulary(
    seed: int, top: int
) -> None:
    reference, scores, exact = pair(seed, top)
    kl, mass = coarse_kl(reference, scores)
    # In double precision: what a list leaves over is a small difference of large numbers, and files
    # keep single precision, whose rounding may then exceed the inequality.
    rounding = 1e-9
    assert (kl >= -rounding).all()
    assert (kl <= exact + rounding).all()
    assert (mass <= 1 + 1e-6).all()


def test_with_the_whole_vocabulary_listed_the_divergence_is_exact() -> None:
    reference, scores, exact = pair(3, VOCAB)
    kl, mass = coarse_kl(reference, scores)
    np.testing.assert_allclose(kl, exact, rtol=1e-4)
    np.testing.assert_allclose(mass, 1.0, rtol=1e-5)


def test_a_model_agrees_with_itself_and_with_nothing_else() -> None:
    reference, other, _ = pair(1, 4)
    same = compare(reference, reference)
    assert (same.token_agreement, same.kl_divergence) == (1.0, 0.0)
    assert (same.perplexity_ratio, same.same_perplexity) == (1.0, True)
    differs = compare(other, reference)
    assert differs.same_perplexity is None
    assert differs.token_agreement is not None
    assert differs.token_agreement < 0.6
    assert differs.kl_divergence is not None
    assert differs.kl_divergence > 0.5


def test_a_uniform_guess_has_the_vocabulary_s_perplexity() -> None:
    tokens = np.zeros((4, 6), dtype=np.int32)
    guess = scores_from(np.zeros((4, 5, VOCAB)), tokens, 3)
    assert guess.perplexity == pytest.approx(VOCAB)
    assert guess.perplexity_interval == pytest.approx((VOCAB, VOCAB))
    assert guess.num_predicted == 20


def test_paired_windows_show_a_difference_that_their_spread_would_hide() -> None:
    rng = np.random.default_rng(0)
    tokens = np.zeros((20, 11), dtype=np.int32)
    hard = rng.normal(3.0, 0.8, size=(20, 1)) * np.ones((20, 10))
    nothing = (np.empty((20, 10, 0), np.int32), np.empty((20, 10, 0), np.float32))
    first, second = (Scores(tokens, -hard - more, *nothing) for more in (0.0, 0.05))
    low, high = first.perplexity_interval or (0.0, 0.0)
    assert low < second.perplexity < high
    found = compare(second, first)
    assert found.perplexity_ratio == pytest.approx(math.exp(0.05))
    assert found.same_perplexity is False
    assert found.token_agreement is None
    assert found.kl_divergence is None


def test_an_interval_that_shows_neither_tells_nothing_of_sameness() -> None:
    told = {
        (0.98, 1.004): None, (0.5, 2.0): None, (0.995, 1.005): True, (1.02, 1.3): False,
        (0.7, 0.98): False,
    }  # fmt: skip
    for interval, same in told.items():
        assert ScoreComparison(1.0, interval, None, None, None).same_perplexity is same


def test_intervals_are_student_s_and_too_few_windows_give_none() -> None:
    assert mean_interval(np.array([1.0, 2.0, 3.0])) is None
    low, high = mean_interval(np.array([1.0, 2.0, 3.0, 4.0])) or (0, 0)
    half = 3.1824 * np.std([1, 2, 3, 4], ddof=1) / 2  # t of 3 degrees of freedom, 97.5 %
    assert (high - low) / 2 == pytest.approx(half, rel=1e-2)


def test_another_text_is_not_compared() -> None:
    one, other = pair(1, 2)[0], pair(2, 2)[0]
    with pytest.raises(BadValue, match="the same windows of tokens"):
        compare(one, other)


@given(st.integers(2, 40), st.integers(0, 200), st.integers(1, 300))
def test_windows_hold_the_text_in_order_and_only_whole(window: int, have: int, limit: int) -> None:
    tokens = list(range(have))
    if min(have, limit) < window:
        with pytest.raises(BadValue):
            windows_of(tokens, window=window, limit=limit)
        return
    cut = windows_of(tokens, window=window, limit=limit)
    assert cut.ravel().tolist() == tokens[: cut.size]
    assert min(have, limit) - window < cut.size <= min(have, limit)


def test_the_text_that_ships_can_be_read_and_a_missing_one_is_named() -> None:
    assert len(read_text("sample")) > 4 * 1024
    with pytest.raises(BadFile, match=r"no/such\.txt: no such text"):
        read_text("no/such.txt")
