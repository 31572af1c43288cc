"""Collectives: the α–β forms, and what must hold whatever the numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.hardware import Link
from catalog.hardware_table import gpu
from perfmodel.collectives import (
    COLLECTIVES,
    all_gather,
    all_reduce,
    exposed,
    fabric,
    reduce_scatter,
    ring_all_reduce,
    tree_all_reduce,
)

LINK = Link(name="test", bandwidth_bytes_per_s=100e9, latency_s=2e-6)
SIZES = st.floats(1, 1e11)
RANKS = st.integers(2, 1024)


def test_a_ring_all_reduce_by_hand():
    # 8 ranks, 800 MB at 100 GB/s: 14 hops of 2 µs and 1 ms.
    assert ring_all_reduce(800e6, 8, LINK) == pytest.approx(14 * (2e-6 + 1e-3))


def test_a_tree_wins_for_small_messages_and_a_ring_for_large_ones():
    assert tree_all_reduce(1e3, 64, LINK) < ring_all_reduce(1e3, 64, LINK)
    assert tree_all_reduce(1e9, 64, LINK) > ring_all_reduce(1e9, 64, LINK)
    assert all_reduce(1e9, 64, LINK) == ring_all_reduce(1e9, 64, LINK)


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_one_rank_alone_takes_no_time(kind):
    assert COLLECTIVES[kind](1e9, 1, LINK) == 0.0


@given(SIZES, RANKS)
def test_gathering_and_scattering_are_mirror_images_that_make_an_all_reduce(size, ranks):
    assert all_gather(size, ranks, LINK) == reduce_scatter(size, ranks, LINK)
    both = all_gather(size, ranks, LINK) + reduce_scatter(size, ranks, LINK)
    assert ring_all_reduce(size, ranks, LINK) == pytest.approx(both)


@pytest.mark.parametrize("kind", COLLECTIVES)
@given(size=SIZES, ranks=RANKS, factor=st.floats(1, 100))
def test_more_bytes_are_never_faster_and_a_better_link_never_slower(kind, size, ranks, factor):
    time = COLLECTIVES[kind]
    better = Link(name="", bandwidth_bytes_per_s=100e9 * factor, latency_s=2e-6 / factor)
    assert time(size * factor, ranks, LINK) >= time(size, ranks, LINK) * (1 - 1e-12)
    assert time(size, ranks, better) <= time(size, ranks, LINK) * (1 + 1e-12)


@pytest.mark.parametrize("kind", COLLECTIVES)
@given(size=SIZES, ranks=RANKS)
def test_scaling_bytes_and_bandwidth_together_changes_nothing(kind, size, ranks):
    kilo = Link(name="", bandwidth_bytes_per_s=100e6, latency_s=2e-6)
    time = COLLECTIVES[kind]
    assert time(size / 1e3, ranks, kilo) == pytest.approx(time(size, ranks, LINK))


def test_groups_beyond_a_node_use_the_network():
    h100 = gpu("H100")
    assert fabric(h100, span=8) is h100.intra_node
    assert fabric(h100, span=9) is h100.inter_node


def test_only_what_does_not_hide_is_exposed():
    assert exposed(5.0, 4.0, overlap=0.5) == 3.0
    assert exposed(1.0, 4.0, overlap=0.5) == 0.0
