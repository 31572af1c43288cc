"""The node pool, the predicted makespan, and the bound it is held against."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cluster.makespan import GroupTask, longest_first, lower_bound_s, predicted_s
from orchestrator.cluster.node_pool import NodePool
from orchestrator.cluster.resources import ResourceRequest
from orchestrator.host.nodes import Node

GPU = "A100-80GB"


def nodes(count: int, gpus: int = 4) -> list[Node]:
    return [
        Node(f"id{i}", f"n{i}", "10.0.0.1", gpus=gpus, accelerator_type="A100")
        for i in range(count)
    ]


def task(seconds: float, gpus: tuple[int, ...] = (2,), block: int = 0) -> GroupTask:
    return GroupTask(block, ResourceRequest(gpus, GPU), seconds)


def test_the_longest_go_first_within_each_block_and_blocks_keep_their_order() -> None:
    tasks = [task(1, block=1), task(5, block=0), task(9, block=1), task(7, block=0)]
    assert longest_first(tasks) == [3, 1, 2, 0]


@pytest.mark.parametrize(
    ("tasks", "count", "share", "expected"),
    [
        ([task(4), task(3), task(2), task(1)], 2, False, 5.0),
        ([task(4), task(3), task(2), task(1)], 2, True, 4.0),
        ([task(4, (4, 4)), task(3), task(3)], 2, False, 7.0),
        ([task(2)] * 4, 3, False, 4.0),
    ],
)
def test_the_prediction_plays_the_order_through(
    tasks: list[GroupTask], count: int, share: bool, expected: float
) -> None:
    assert predicted_s(tasks, nodes(count), share=share) == expected
    assert lower_bound_s(tasks, nodes(count), share=share) <= expected


def test_a_server_over_two_nodes_is_not_kept_waiting_by_small_ones() -> None:
    tasks = [task(5), task(4, (4, 4)), *([task(3)] * 6)]
    # 5 runs beside nothing else, then both nodes, then six tasks of 3 on two nodes.
    assert predicted_s(tasks, nodes(2), share=False) == 5 + 4 + 9


def test_tasks_for_different_gpus_do_not_wait_for_each_other() -> None:
    h100 = Node("h", "h", "10.0.0.2", gpus=8, accelerator_type="H100")
    other = GroupTask(0, ResourceRequest((8,), "H100"), 6.0)
    assert predicted_s([task(6), other], [*nodes(1), h100], share=False) == 6.0


@pytest.mark.slow
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3))
def test_the_bound_is_below_the_best_packing_and_longest_first_within_a_third_of_it(
    lengths: list[int], count: int
) -> None:
    tasks = [task(float(length)) for length in lengths]
    best = min(_in_order(order, count) for order in permutations(lengths))
    assert lower_bound_s(tasks, nodes(count), share=False) <= best
    # Graham 1969, "Bounds on multiprocessing timing anomalies": LPT ≤ (4/3 - 1/(3m)) OPT.
    assert predicted_s(tasks, nodes(count), share=False) <= (4 / 3 - 1 / (3 * count)) * best + 1e-9


def _in_order(lengths: tuple[int, ...], count: int) -> float:
    """Return the makespan of list scheduling; some order of it is optimal."""
    free = [0.0] * count
    for length in lengths:
        free[free.index(min(free))] += length
    return max(free)


def test_nodes_are_for_one_group_unless_shared_and_neighbours_are_counted() -> None:
    request = ResourceRequest((2,), GPU)
    alone, shared = NodePool(nodes(1), share=False), NodePool(nodes(1), share=True)
    for pool in (alone, shared):
        pool.acquire(request, ["id0"])
    assert alone.fitting(request) == []
    assert [node.name for node in shared.fitting(request)] == ["n0"]
    shared.acquire(request, ["id0"])
    assert shared.colocated_groups(["id0"]) == 1
    assert shared.fitting(request) == []
    alone.release(request, ["id0"])
    assert alone.fitting(request)


def test_a_node_is_avoided_after_two_failures_and_named() -> None:
    pool, request = NodePool(nodes(2), share=False), ResourceRequest((4,), GPU)
    assert pool.record_failure(["id0"]) == []
    assert [node.name for node in pool.record_failure(["id0"])] == ["n0"]
    assert [node.name for node in pool.fitting(request)] == ["n1"]
    assert pool.could_fit(request)
    pool.record_failure(["id1"])
    pool.record_failure(["id1"])
    assert not pool.could_fit(request)
