"""AdapMoE's rules: who is spared, how a cache is split, what a text says of layers."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.huggingface.offload.cache import ExpertCache
from servers.huggingface.offload.split import misses_by_size, split_slots
from tests.needs import needs_transformers

USES = st.lists(st.integers(0, 5), max_size=60)


@given(USES)
def test_misses_by_size_are_those_of_the_cache_itself(uses: list[int]) -> None:
    counted = misses_by_size(uses, 6)
    assert counted[0] == len(uses)
    for size in range(1, 7):
        cache = ExpertCache(range(size))
        for expert in uses:
            if cache.use((0, expert)) is None:
                cache.take((0, expert))
        assert counted[size] == cache.counts.misses


@given(st.lists(USES, min_size=1, max_size=3), st.integers(3, 14))
def test_no_other_split_of_the_slots_misses_less(layers: list[list[int]], slots: int) -> None:
    misses = [misses_by_size(uses, 6) for uses in layers]
    slots = min(slots, 6 * len(layers))
    sizes = split_slots(misses, slots)
    assert sum(sizes) == slots
    assert min(sizes) >= 1
    found = sum(each[size] for each, size in zip(misses, sizes, strict=True))
    others = itertools.product(range(1, 7), repeat=len(layers))
    assert found == min(
        sum(each[size] for each, size in zip(misses, other, strict=True))
        for other in others
        if sum(other) == slots
    )


def test_the_layer_that_uses_more_experts_gets_more_slots() -> None:
    narrow, wide = misses_by_size([1, 1, 2, 1] * 20, 8), misses_by_size(list(range(8)) * 10, 8)
    assert split_slots([narrow, wide], 10) == [2, 8]


@pytest.mark.slow
@needs_transformers
def test_the_second_expert_goes_where_its_share_squared_times_the_sensitivity_is_below() -> None:
    import torch

    from servers.huggingface.offload.gating import NOBODY, SkipRule

    chosen = torch.tensor([[4, 7], [2, 5], [1, 0]])
    weights = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    # (1 − α)² is 0.01, 0.16 and 0.04; of the second layer a quarter of that counts.
    rule = SkipRule(0.02, [1.0, 0.25])
    kept, new = rule.apply(0, chosen, weights)
    assert kept.tolist() == [[4, NOBODY], [2, 5], [1, 0]]
    assert torch.allclose(new, torch.tensor([[1.0, 0.0], [0.6, 0.4], [0.2, 0.8]]))
    kept, new = rule.apply(1, chosen, weights * 2.5)  # of routers whose weights sum to other than 1
    assert kept.tolist() == [[4, NOBODY], [2, 5], [NOBODY, 0]]
    assert torch.allclose(new.sum(-1), torch.full((3,), 2.5))
    assert (rule.chosen, rule.skipped) == (12, 3)


@needs_transformers
def test_of_many_experts_the_least_go_together_and_the_first_never() -> None:
    import torch

    from servers.huggingface.offload.gating import NOBODY, SkipRule

    chosen, weights = torch.tensor([[3, 1, 2, 0]]), torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    # Left out together: 0.05² = 0.0025, 0.2² = 0.04, 0.5² = 0.25.
    for threshold, left in ((0.002, 4), (0.003, 3), (0.041, 2), (0.3, 1), (1.0, 1)):
        kept, _ = SkipRule(threshold, [1.0]).apply(0, chosen, weights)
        assert (kept != NOBODY).sum() == left
        assert kept[0, 0] == 3
    same, untouched = SkipRule(0.0, [1.0]).apply(0, chosen, weights)
    assert same is chosen
    assert untouched is weights


@needs_transformers
def test_a_layers_sensitivity_is_how_the_loss_bends_when_the_first_expert_takes_all() -> None:
    import torch

    from servers.huggingface.offload.calibration import LayerTrace, sensitivities

    output = torch.zeros(2, 3)
    output.grad = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    direction = torch.tensor([[1.0, 5.0, 1.0], [0.0, 2.0, 0.0]])
    nothing = torch.zeros(2, 2)
    felt = LayerTrace(nothing, nothing, direction, output)
    assert felt.sensitivity == pytest.approx((3**2 + 2**2) / 2)
    half = LayerTrace(nothing, nothing, direction / 2, output)
    assert np.allclose(sensitivities([half, felt]), [0.25, 1.0])
