"""The cache of resident experts: slots, who leaves, what is counted; budgets that hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from catalog.model_table import MODELS
from catalog.units import GIB
from servers.huggingface.offload.cache import ExpertCache
from servers.huggingface.offload.costs import Costs
from servers.huggingface.offload.options import (
    OffloadOptions,
    check_offload,
    options_of,
    packed_expert_bytes,
    slots_of,
)

KEYS = st.tuples(st.integers(0, 2), st.integers(0, 7))


@given(
    st.integers(1, 12),
    st.sampled_from(["lru", "activation"]),
    st.lists(st.tuples(KEYS, st.booleans())),
)
def test_an_expert_has_one_slot_of_its_own_and_there_are_never_more_than_slots(
    slots: int, policy: str, asked: list[tuple[tuple[int, int], bool]]
) -> None:
    cache = ExpertCache(range(slots), policy)  # type: ignore[arg-type]
    held: dict[int, tuple[int, int]] = {}
    for key, guess in asked:
        if guess:
            if key not in cache.resident:
                slot = cache.take(key, guessed=True)
                assert slot is not None
                held[slot] = key
            continue
        slot = cache.use(key)
        if slot is None:
            slot = cache.take(key)
            assert slot is not None
            held[slot] = key
        assert held[slot] == key  # what the cache finds is what was put there
    assert len(cache.resident) <= slots
    assert set(held.values()) >= set(cache.resident)
    counts = cache.counts
    assert counts.hits + counts.misses == sum(not guess for _, guess in asked)
    assert counts.prefetch_hits <= counts.prefetched


def fill(cache: ExpertCache, *experts: int) -> None:
    for expert in experts:
        if cache.use((0, expert)) is None:
            cache.take((0, expert))


def test_the_least_recently_used_leaves_first() -> None:
    cache = ExpertCache(range(3))
    fill(cache, 1, 2, 3, 1, 4)
    assert set(cache.resident) == {(0, 1), (0, 3), (0, 4)}


def test_the_activation_aware_cache_keeps_what_is_used_often() -> None:
    lru, aware = ExpertCache(range(2)), ExpertCache(range(2), "activation")
    for cache in (lru, aware):
        fill(cache, 1, 1, 1, 1, 2, 3, 1)
    assert lru.counts.hits < aware.counts.hits
    assert (0, 1) in aware.resident


def test_old_activations_fade() -> None:
    cache = ExpertCache(range(2), "activation")
    fill(cache, *[1] * 3, *[2] * 60, *[3])
    assert set(cache.resident) == {(0, 2), (0, 3)}


def test_what_must_stay_stays_and_a_guess_may_find_no_slot() -> None:
    cache = ExpertCache(range(2))
    fill(cache, 1, 2)
    assert cache.take((0, 3), keep={(0, 1), (0, 2)}, guessed=True) is None
    assert cache.take((0, 3), keep={(0, 1)}) is not None
    assert (0, 1) in cache.resident


def test_on_a_cyclic_trace_hits_fall_as_the_cache_shrinks() -> None:
    rates = []
    for slots in (8, 6, 4, 2, 1):
        cache = ExpertCache(range(slots), "activation")
        fill(cache, *[step * step % 8 for step in range(400)], *range(8))
        rates.append(cache.counts.hits)
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]


def test_an_int8_expert_of_mixtral_takes_half_and_its_scales() -> None:
    full = packed_expert_bytes(4096, 14336, element_bytes=2.0, int8=False)
    assert full == 3 * 4096 * 14336 * 2
    int8 = packed_expert_bytes(4096, 14336, element_bytes=2.0, int8=True)
    assert int8 == full / 2 + 4 * (2 * 14336 + 4096)


def test_budgets_in_bytes_shares_and_experts_of_mixtral() -> None:
    mixtral = MODELS["Mixtral-8x7B"]
    assert check_offload(mixtral, OffloadOptions(resident=2)) == 64
    assert check_offload(mixtral, OffloadOptions(share=0.25)) == 64
    one = 3 * 4096 * 14336 * 2
    assert check_offload(mixtral, OffloadOptions(memory_bytes=8.0 * GIB)) == int(8 * GIB / one)
    assert check_offload(mixtral, OffloadOptions(memory_bytes=1e15)) == 256


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (OffloadOptions(memory_bytes=100e6), "room for one expert: 336 MiB"),
        (OffloadOptions(share=0.003), "1 of 256"),
        (OffloadOptions(resident=9), "up to the 8 experts of a layer"),
    ],
)
def test_a_budget_too_small_or_too_large_is_refused_with_the_number(
    options: OffloadOptions, told: str
) -> None:
    with pytest.raises(BadValue, match=told):
        check_offload(MODELS["Mixtral-8x7B"], options)


def test_a_dense_model_has_nothing_to_offload() -> None:
    dense = next(model for model in MODELS.values() if model.experts is None)
    with pytest.raises(BadValue, match="a model with experts"):
        check_offload(dense, OffloadOptions(resident=1))


def test_knobs_become_options_and_slots_are_never_more_than_experts() -> None:
    options = options_of({"share": "0.5", "cache": "activation", "prefetch": "2"})
    assert options == OffloadOptions(share=0.5, cache="activation", prefetch=2)
    assert slots_of(OffloadOptions(share=1.0), layers=3, experts=5, expert_bytes=1.0) == 15


def test_few_tokens_are_computed_on_the_host_and_many_are_worth_the_move() -> None:
    # Mixtral's expert over PCIe 4: 352 MB at 20 GB/s; 1 ms a token on the host.
    costs = Costs(
        move_s=0.0176, host_s=0.004, host_s_per_token=0.001, device_s=0.0003,
        device_s_per_token=1e-5,
    )  # fmt: skip
    assert costs.host_is_quicker(1)
    assert costs.host_is_quicker(15)
    assert not costs.host_is_quicker(16)
