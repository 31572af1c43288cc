"""Which experts a batch touches."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from perfmodel.experts import RoutingSkew, busiest_share, fullest, inclusion, touched


@pytest.mark.parametrize("zipf", [0.0, 0.8])
def test_expected_experts_agree_with_drawn_ones(zipf: float) -> None:
    experts, top_k, tokens = 64, 4, 24
    rng = np.random.default_rng(1)
    chance = inclusion(experts, top_k, zipf=zipf)
    # Independent inclusion with the same marginal chances: what the expectation assumes.
    drawn = (rng.random((4000, tokens, experts)) < chance).any(axis=1).sum(axis=1)
    expected = touched(experts, top_k, tokens, routing=RoutingSkew(zipf=zipf))
    assert drawn.mean() == pytest.approx(expected, abs=4 * drawn.std() / np.sqrt(4000))


def test_a_uniform_skew_of_zero_has_the_closed_form() -> None:
    assert touched(128, 8, 64) == pytest.approx(128 * (1 - (1 - 8 / 128) ** 64))
    tiny = touched(128, 8, 64, routing=RoutingSkew(zipf=1e-12))
    assert tiny == pytest.approx(touched(128, 8, 64))


@given(st.integers(2, 256), st.data(), st.floats(0, 3))
def test_chances_are_chances_and_add_up_to_top_k(experts: int, data: Any, zipf: float) -> None:
    top_k = data.draw(st.integers(1, experts))
    chance = inclusion(experts, top_k, zipf=zipf)
    assert chance.sum() == pytest.approx(top_k)
    assert np.all((chance >= 0) & (chance <= 1 + 1e-12))
    assert np.all(np.diff(chance) <= 1e-12)


@given(st.integers(2, 128), st.data(), st.floats(0, 2))
def test_skew_touches_fewer_experts_and_more_tokens_touch_more(
    experts: int, data: Any, zipf: float
) -> None:
    top_k = data.draw(st.integers(1, experts))
    tokens = np.arange(1, 60)
    even = touched(experts, top_k, tokens)
    skewed = touched(experts, top_k, tokens, routing=RoutingSkew(zipf=zipf))
    assert np.all(skewed <= even * (1 + 1e-9))
    assert np.all(np.diff(skewed) >= -1e-9)
    assert skewed[0] == pytest.approx(top_k)


def test_the_busiest_rank_has_an_even_share_of_even_routing() -> None:
    assert busiest_share(64, 8, 8) == pytest.approx(1.0)
    assert busiest_share(64, 8, 8, routing=RoutingSkew(zipf=1.0)) > 1.5
    assert busiest_share(64, 8, 8, routing=RoutingSkew(imbalance=1.3)) == pytest.approx(1.3)
    assert busiest_share(64, 8, 1, routing=RoutingSkew(zipf=1.0)) == 1.0


@pytest.mark.parametrize("ranks", [2, 4, 8, 16])
def test_the_fullest_rank_of_unlike_experts_is_as_full_as_draws_say(ranks: int) -> None:
    experts, cv, tokens = 128, 0.9, 512
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(300):
        popular = rng.gamma(1 / cv**2, size=experts)
        drawn = rng.multinomial(8 * tokens, popular / popular.sum())
        shares.append(drawn.reshape(ranks, -1).sum(axis=1).max() * ranks)
    touched_all = float(touched(experts, 8, tokens))
    _, pairs = fullest(touched_all, 8.0 * tokens, ranks, experts=experts, popularity_cv=cv)
    assert float(pairs) == pytest.approx(np.mean(shares), rel=0.06)


@given(st.integers(1, 5000), st.sampled_from([1, 2, 8, 64]), st.floats(0, 1.5))
def test_more_tokens_never_lighten_the_fullest_rank(tokens: int, ranks: int, cv: float) -> None:
    few, more = (
        fullest(touched(128, 8, n), 8.0 * n, ranks, experts=128, popularity_cv=cv)
        for n in (tokens, tokens + 1)
    )
    assert few[0] <= more[0] * (1 + 1e-12)
    assert few[1] <= more[1]


@pytest.mark.parametrize("wrong", [{"zipf": -0.1}, {"imbalance": 0.9}, {"zipf": float("nan")}])
def test_routing_outside_its_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadValue):
        RoutingSkew(**wrong)
