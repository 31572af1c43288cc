"""How long all groups together take: predicted before, bounded from below, compared after."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from orchestrator.cluster.node_pool import NodePool
from orchestrator.cluster.resources import ResourceRequest
from orchestrator.host.nodes import Node


@dataclass(frozen=True, slots=True)
class GroupTask:
    """A server group as a task of a schedule: what it requests, and for how long."""

    block: int
    """The replicate: blocks follow each other, as the plan drew them."""
    request: ResourceRequest
    seconds: float


class GroupInterval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server start as it was: where, and from when to when."""

    group: str
    nodes: tuple[str, ...]
    started_s: float
    """From the start of the study."""
    ended_s: float
    expected_s: float | None


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A study on a cluster as it went, beside what was expected."""

    started_at: str
    predicted_s: float | None
    """None where some group's time is not known beforehand."""
    measured_s: float
    lower_bound_s: float
    """No packing of these intervals on these nodes is shorter."""
    avoided_nodes: tuple[str, ...]
    intervals: tuple[GroupInterval, ...] = msgspec.field(name="stays")


def longest_first(tasks: Iterable[GroupTask]) -> list[int]:
    """Return the order in which tasks are offered: block by block, longest first."""
    listed = list(tasks)
    return sorted(range(len(listed)), key=lambda i: (listed[i].block, -listed[i].seconds))


def predicted_s(tasks: Sequence[GroupTask], nodes: Iterable[Node], *, share: bool) -> float:
    """Play the order through on free nodes: each task starts as soon as it fits."""
    pool = NodePool(nodes, share=share)
    waiting = [tasks[index] for index in longest_first(tasks)]
    running: list[tuple[float, int, ResourceRequest, list[str]]] = []
    now_s, number = 0.0, 0
    while waiting or running:
        for task in startable(waiting, pool):
            node_ids = first_fit(task.request, pool)
            pool.acquire(task.request, node_ids)
            number += 1
            heapq.heappush(running, (now_s + task.seconds, number, task.request, node_ids))
        if not running:
            raise ValueError("a task fits no node")
        now_s, _, request, node_ids = heapq.heappop(running)
        pool.release(request, node_ids)
    return now_s


def startable(waiting: list[GroupTask], pool: NodePool) -> Iterable[GroupTask]:
    """Remove and yield, one by one, the waiting tasks that fit the free nodes.

    Nothing overtakes a group of several nodes: small ones would starve it.
    """
    for task in list(waiting):
        if pool.fitting(task.request):
            waiting.remove(task)
            yield task
        elif len(task.request.gpus_by_node) > 1:
            return


def first_fit(request: ResourceRequest, pool: NodePool) -> list[str]:
    """Choose nodes as Ray may: the largest part first, each on the fullest node that holds it."""
    chosen: dict[int, str] = {}
    left = pool.fitting(request)
    for index in sorted(range(len(request.gpus_by_node)), key=lambda i: -request.gpus_by_node[i]):
        part = ResourceRequest((request.gpus_by_node[index],), request.hardware)
        node = next(n for n in pool.fitting(part) if n in left)
        left.remove(node)
        chosen[index] = node.node_id
    return [chosen[index] for index in sorted(chosen)]


def lower_bound_s(tasks: Sequence[GroupTask], nodes: Sequence[Node], *, share: bool) -> float:
    """Return the larger of the longest task and, for each GPU, its work over what carries it.

    Work is node-seconds where groups have nodes to themselves, else GPU-seconds.
    """
    bounds = [max((task.seconds for task in tasks), default=0.0)]
    for hardware in {task.request.hardware for task in tasks}:
        same = [task for task in tasks if task.request.hardware == hardware]
        matching = [n for n in nodes if not hardware or (n.gpus and n.provides(hardware))]
        by_gpu = share and bool(hardware)
        work = sum(
            p.seconds * (sum(p.request.gpus_by_node) if by_gpu else len(p.request.gpus_by_node))
            for p in same
        )
        capacity = sum(n.gpus for n in matching) if by_gpu else len(matching)
        if share and not hardware:
            continue
        bounds.append(work / capacity if capacity else 0.0)
        if not share:
            on_a_node = [p.seconds for p in same for _ in p.request.gpus_by_node]
            bounds.append(_pigeonhole_bound_s(on_a_node, len(matching)))
    return max(bounds)


def _pigeonhole_bound_s(lengths: Sequence[float], nodes: int) -> float:
    """Of the k·m + 1 longest tasks on m nodes, some node has k + 1; of them the shortest count."""
    if not nodes:
        return 0.0
    longest = sorted(lengths, reverse=True)
    rounds = range(1, (len(longest) - 1) // nodes + 1)
    return max((sum(longest[k * nodes - k : k * nodes + 1]) for k in rounds), default=0.0)
