"""Collectives: the α–β forms, and what must hold whatever the numbers."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.hardware import Link
from catalog.hardware_table import gpu
from perfmodel.collectives import (
    all_gather,
    all_reduce,
    all_to_all,
    direct_all_to_all,
    exposed,
    fabric,
    gather_by_nodes,
    point_to_point,
    reduce_scatter,
    ring_all_reduce,
    tree_all_reduce,
)

LINK = Link(name="test", bandwidth_bytes_per_s=100e9, latency_s=2e-6)
SIZES = st.floats(1, 1e11)
RANKS = st.integers(2, 1024)
COLLECTIVES = (
    *(ring_all_reduce, tree_all_reduce, all_gather, reduce_scatter, all_to_all, point_to_point),
)


# 128 tokens of 7168 values to 8 experts each, 8 GPUs a node with a 400 Gb/s card each
# (github.com/deepseek-ai/DeepEP, docs/legacy.md): ranks, µs to dispatch in fp8, to combine in bf16.
DEEPEP = [(16, 118, 195), (32, 155, 273), (64, 173, 314), (128, 192, 369)]


@pytest.mark.parametrize(("ranks", "dispatch_us", "combine_us"), DEEPEP)
def test_sending_at_once_takes_the_published_times(
    ranks: int, dispatch_us: float, combine_us: float
) -> None:
    inside = Link(name="nvlink", bandwidth_bytes_per_s=200e9, latency_s=2e-6)
    between = Link(name="rail", bandwidth_bytes_per_s=47e9, latency_s=4e-6)
    sent = 128 * 8 * 7168
    for size, measured_us in ((sent, dispatch_us), (2 * sent, combine_us)):
        seconds = direct_all_to_all(size, ranks, (inside, between), within=8, start_s=40e-6)
        assert seconds == pytest.approx(measured_us * 1e-6, rel=0.11)


@given(SIZES, st.sampled_from([8, 16, 64, 512]))
def test_gathering_by_nodes_is_a_ring_in_one_node_and_no_slower_than_one_over_the_network(
    size: float, ranks: int
) -> None:
    inside = Link(name="nvlink", bandwidth_bytes_per_s=400e9, latency_s=2e-6)
    between = Link(name="rail", bandwidth_bytes_per_s=50e9, latency_s=4e-6)
    by_nodes = gather_by_nodes(size, ranks, (inside, between), within=8)
    if ranks == 8:
        assert by_nodes == pytest.approx(all_gather(size, 8, inside))
    assert by_nodes <= all_gather(size, ranks, between) * (1 + 1e-12)


def test_a_ring_all_reduce_by_hand() -> None:
    # 8 ranks, 800 MB at 100 GB/s: 14 hops of 2 µs and 1 ms.
    assert ring_all_reduce(800e6, 8, LINK) == pytest.approx(14 * (2e-6 + 1e-3))


def test_a_tree_wins_for_small_messages_and_a_ring_for_large_ones() -> None:
    assert tree_all_reduce(1e3, 64, LINK) < ring_all_reduce(1e3, 64, LINK)
    assert tree_all_reduce(1e9, 64, LINK) > ring_all_reduce(1e9, 64, LINK)
    assert all_reduce(1e9, 64, LINK) == ring_all_reduce(1e9, 64, LINK)


@pytest.mark.parametrize("time", COLLECTIVES)
def test_one_rank_alone_takes_no_time(time: Callable[..., float]) -> None:
    assert time(1e9, 1, LINK) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("time", COLLECTIVES)
@given(size=SIZES, ranks=RANKS, factor=st.floats(1, 100))
def test_more_bytes_are_never_faster_and_a_better_link_never_slower(
    time: Callable[..., float], size: float, ranks: int, factor: float
) -> None:
    better = Link(name="", bandwidth_bytes_per_s=100e9 * factor, latency_s=2e-6 / factor)
    assert time(size * factor, ranks, LINK) >= time(size, ranks, LINK) * (1 - 1e-12)
    assert time(size, ranks, better) <= time(size, ranks, LINK) * (1 + 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("time", COLLECTIVES)
@given(size=SIZES, ranks=RANKS)
def test_scaling_bytes_and_bandwidth_together_changes_nothing(
    time: Callable[..., float], size: float, ranks: int
) -> None:
    kilo = Link(name="", bandwidth_bytes_per_s=100e6, latency_s=2e-6)
    assert time(size / 1e3, ranks, kilo) == pytest.approx(time(size, ranks, LINK))


def test_groups_beyond_a_node_use_the_network() -> None:
    h100 = gpu("H100")
    assert fabric(h100, span=8) is h100.intra_node
    assert fabric(h100, span=9) is h100.inter_node


def test_only_what_does_not_hide_is_exposed() -> None:
    assert exposed(5.0, 4.0, overlap=0.5) == 3.0
    assert exposed(1.0, 4.0, overlap=0.5) == 0.0
