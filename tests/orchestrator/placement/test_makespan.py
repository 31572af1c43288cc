"""Books of nodes, the predicted makespan, and the bound it is held against."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cluster.makespan import Piece, longest_first, lower_bound_s, predicted_s
from orchestrator.cluster.need import Need
from orchestrator.cluster.nodes import Node
from orchestrator.cluster.yard import Yard

GPU = "A100-80GB"


def nodes(count: int, gpus: int = 4) -> list[Node]:
    return [Node(f"id{i}", f"n{i}", "10.0.0.1", gpus=gpus, kind="A100") for i in range(count)]


def piece(seconds: float, gpus: tuple[int, ...] = (2,), block: int = 0) -> Piece:
    return Piece(block, Need(gpus, GPU), seconds)


def test_the_longest_go_first_within_each_block_and_blocks_keep_their_order() -> None:
    pieces = [piece(1, block=1), piece(5, block=0), piece(9, block=1), piece(7, block=0)]
    assert longest_first(pieces) == [3, 1, 2, 0]


@pytest.mark.parametrize(
    ("pieces", "count", "share", "expected"),
    [
        ([piece(4), piece(3), piece(2), piece(1)], 2, False, 5.0),
        ([piece(4), piece(3), piece(2), piece(1)], 2, True, 4.0),
        ([piece(4, (4, 4)), piece(3), piece(3)], 2, False, 7.0),
        ([piece(2)] * 4, 3, False, 4.0),
    ],
)
def test_the_prediction_plays_the_order_through(
    pieces: list[Piece], count: int, share: bool, expected: float
) -> None:
    assert predicted_s(pieces, nodes(count), share=share) == expected
    assert lower_bound_s(pieces, nodes(count), share=share) <= expected


def test_a_server_over_two_nodes_is_not_kept_waiting_by_small_ones() -> None:
    pieces = [piece(5), piece(4, (4, 4)), *([piece(3)] * 6)]
    # 5 runs beside nothing else, then both nodes, then six pieces of 3 on two nodes.
    assert predicted_s(pieces, nodes(2), share=False) == 5 + 4 + 9


def test_pieces_for_different_gpus_do_not_wait_for_each_other() -> None:
    h100 = Node("h", "h", "10.0.0.2", gpus=8, kind="H100")
    other = Piece(0, Need((8,), "H100"), 6.0)
    assert predicted_s([piece(6), other], [*nodes(1), h100], share=False) == 6.0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3))
def test_the_bound_is_below_the_best_packing_and_longest_first_within_a_third_of_it(
    lengths: list[int], count: int
) -> None:
    pieces = [piece(float(length)) for length in lengths]
    best = min(_in_order(order, count) for order in permutations(lengths))
    assert lower_bound_s(pieces, nodes(count), share=False) <= best
    # Graham 1969, "Bounds on multiprocessing timing anomalies": LPT ≤ (4/3 - 1/(3m)) OPT.
    assert predicted_s(pieces, nodes(count), share=False) <= (4 / 3 - 1 / (3 * count)) * best + 1e-9


def _in_order(lengths: tuple[int, ...], count: int) -> float:
    """Return the makespan of list scheduling; some order of it is optimal."""
    free = [0.0] * count
    for length in lengths:
        free[free.index(min(free))] += length
    return max(free)


def test_nodes_are_for_one_group_unless_shared_and_neighbours_are_counted() -> None:
    need = Need((2,), GPU)
    alone, shared = Yard(nodes(1), share=False), Yard(nodes(1), share=True)
    for yard in (alone, shared):
        yard.take(need, ["id0"])
    assert alone.room(need) == []
    assert [node.name for node in shared.room(need)] == ["n0"]
    shared.take(need, ["id0"])
    assert shared.neighbours(["id0"]) == 1
    assert shared.room(need) == []
    alone.give(need, ["id0"])
    assert alone.room(need)


def test_a_node_is_avoided_after_two_failures_and_named() -> None:
    yard, need = Yard(nodes(2), share=False), Need((4,), GPU)
    assert yard.blame(["id0"]) == []
    assert [node.name for node in yard.blame(["id0"])] == ["n0"]
    assert [node.name for node in yard.room(need)] == ["n1"]
    assert yard.ever_fits(need)
    yard.blame(["id1"])
    yard.blame(["id1"])
    assert not yard.ever_fits(need)
