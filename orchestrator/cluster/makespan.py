"""How long all groups together take: predicted before, bounded from below, compared after."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from orchestrator.cluster.need import Need
from orchestrator.cluster.nodes import Node
from orchestrator.cluster.yard import Yard


@dataclass(frozen=True, slots=True)
class Piece:
    """A server group with how long it takes."""

    block: int
    """The replicate: blocks follow each other, as the plan drew them."""
    need: Need
    seconds: float


class Stay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
    """No packing of these stays on these nodes is shorter."""
    avoided_nodes: tuple[str, ...]
    stays: tuple[Stay, ...]


def longest_first(pieces: Iterable[Piece]) -> list[int]:
    """Return the order in which pieces are offered: block by block, longest first."""
    listed = list(pieces)
    return sorted(range(len(listed)), key=lambda i: (listed[i].block, -listed[i].seconds))


def predicted_s(pieces: Sequence[Piece], nodes: Iterable[Node], *, share: bool) -> float:
    """Play the order through on free nodes: each piece starts as soon as there is room for it."""
    yard = Yard(nodes, share=share)
    waiting = [pieces[index] for index in longest_first(pieces)]
    running: list[tuple[float, int, Need, list[str]]] = []
    now_s, number = 0.0, 0
    while waiting or running:
        for piece in startable(waiting, yard):
            node_ids = first_fit(piece.need, yard)
            yard.take(piece.need, node_ids)
            number += 1
            heapq.heappush(running, (now_s + piece.seconds, number, piece.need, node_ids))
        if not running:
            raise ValueError("a piece fits no node")
        now_s, _, need, node_ids = heapq.heappop(running)
        yard.give(need, node_ids)
    return now_s


def startable(waiting: list[Piece], yard: Yard) -> Iterable[Piece]:
    """Take out of the list, one by one, what there is room for.

    Nothing overtakes a group of several nodes: small ones would keep it waiting for ever.
    """
    for piece in list(waiting):
        if yard.room(piece.need):
            waiting.remove(piece)
            yield piece
        elif len(piece.need.gpus_by_node) > 1:
            return


def first_fit(need: Need, yard: Yard) -> list[str]:
    """Choose nodes as Ray may: the largest part first, each on the fullest node that holds it."""
    chosen: dict[int, str] = {}
    left = yard.room(need)
    for index in sorted(range(len(need.gpus_by_node)), key=lambda i: -need.gpus_by_node[i]):
        part = Need((need.gpus_by_node[index],), need.hardware)
        node = next(n for n in yard.room(part) if n in left)
        left.remove(node)
        chosen[index] = node.node_id
    return [chosen[index] for index in sorted(chosen)]


def lower_bound_s(pieces: Sequence[Piece], nodes: Sequence[Node], *, share: bool) -> float:
    """Return the larger of the longest piece and, for each GPU, its work over what carries it.

    Work is node-seconds where groups have nodes to themselves, else GPU-seconds.
    """
    bounds = [max((piece.seconds for piece in pieces), default=0.0)]
    for hardware in {piece.need.hardware for piece in pieces}:
        same = [piece for piece in pieces if piece.need.hardware == hardware]
        suited = [n for n in nodes if not hardware or (n.gpus and n.carries(hardware))]
        by_gpu = share and bool(hardware)
        work = sum(
            p.seconds * (sum(p.need.gpus_by_node) if by_gpu else len(p.need.gpus_by_node))
            for p in same
        )
        room = sum(n.gpus for n in suited) if by_gpu else len(suited)
        if share and not hardware:
            continue
        bounds.append(work / room if room else 0.0)
        if not share:
            on_a_node = [p.seconds for p in same for _ in p.need.gpus_by_node]
            bounds.append(_pigeonhole_s(on_a_node, len(suited)))
    return max(bounds)


def _pigeonhole_s(lengths: Sequence[float], nodes: int) -> float:
    """Of the k·m + 1 longest pieces on m nodes, some node has k + 1; of them the shortest count."""
    if not nodes:
        return 0.0
    longest = sorted(lengths, reverse=True)
    rounds = range(1, (len(longest) - 1) // nodes + 1)
    return max((sum(longest[k * nodes - k : k * nodes + 1]) for k in rounds), default=0.0)
