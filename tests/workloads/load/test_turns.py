"""Conversations: a turn is due a while after the end of the one before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.load.turns import TurnDispatcher, Turns

PAIR = Turns([1, -1, 3, -1], [0.0, 2.0, 0.0, 2.0])
"""Two sessions of two turns."""


def test_a_turn_is_due_think_time_after_the_end_of_the_one_before() -> None:
    closed = TurnDispatcher(PAIR, max_concurrency=2, due_s=None)
    assert closed.take(0.0) == [(0, 0.0), (2, 0.0)]
    assert closed.next_due_s() is None
    closed.done(0, 5.0)
    assert closed.next_due_s() == 7.0
    assert closed.take(6.9) == []
    assert closed.take(7.0) == [(1, 7.0)]
    closed.done(2, 7.5)
    assert not closed.exhausted
    assert closed.take(9.5) == [(3, 9.5)]
    assert closed.exhausted


def test_while_one_thinks_the_slot_serves_another_session() -> None:
    closed = TurnDispatcher(PAIR, max_concurrency=1, due_s=None)
    assert closed.take(0.0) == [(0, 0.0)]
    closed.done(0, 1.0)
    assert closed.take(1.0) == [(2, 1.0)], "the slot is free from 1 s on, turn 1 is due at 3 s"
    closed.done(2, 4.0)
    assert closed.take(4.0) == [(1, 4.0)], "due at 3 s, and for want of a slot at 4 s"


def test_a_turn_that_is_due_goes_before_a_session_that_has_not_begun() -> None:
    closed = TurnDispatcher(Turns([1, -1, -1], [0.0, 0.0, 0.0]), max_concurrency=1, due_s=None)
    closed.take(0.0)
    closed.done(0, 1.0)
    assert closed.take(1.0) == [(1, 1.0)]


def test_in_an_open_loop_first_turns_have_their_drawn_times_and_later_ones_their_own() -> None:
    nan = float("nan")
    dispatcher = TurnDispatcher(PAIR, max_concurrency=None, due_s=[0.5, nan, 10.0, nan])
    assert dispatcher.next_due_s() == 0.5
    assert dispatcher.take(0.6) == [(0, 0.5)]
    assert dispatcher.next_due_s() == 10.0
    dispatcher.done(0, 1.0)
    assert dispatcher.next_due_s() == 3.0, "an end may make something due before what was known"
    assert dispatcher.take(11.0) == [(1, 3.0), (2, 10.0)]


def test_an_end_that_was_not_begun_is_refused() -> None:
    with pytest.raises(ValueError, match="not in flight"):
        TurnDispatcher(PAIR, max_concurrency=1, due_s=None).done(1, 0.0)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=8),
    st.integers(1, 5),
    st.floats(0, 3),
    st.booleans(),
)
def test_every_request_is_handed_out_once_its_turns_in_order(
    turns: list[int], cap: int, think_s: float, open_loop: bool
) -> None:
    following, due_s = [], []
    for number, count in enumerate(turns):
        begin = len(following)
        following += [*range(begin + 1, begin + count), -1]
        due_s += [float(number)] + [float("nan")] * (count - 1)
    total = len(following)
    dispatcher = TurnDispatcher(
        Turns(following, [think_s] * total),
        max_concurrency=cap,
        due_s=due_s if open_loop else None,
    )
    ended: dict[int, float] = {}
    order, now_s = [], 0.0
    while not dispatcher.exhausted:
        due = dispatcher.next_due_s()
        assert due is not None, "nothing is left that never ends"
        now_s = max(now_s, due)
        for request, _ in dispatcher.take(now_s):
            before = next((i for i, after in enumerate(following) if after == request), None)
            if before is not None:
                assert now_s >= ended[before] + think_s
            order.append(request)
        assert dispatcher.in_flight <= cap
        for request in set(order) - set(ended):
            now_s += 0.25
            ended[request] = now_s
            dispatcher.done(request, now_s)
    assert sorted(order) == list(range(total))
