import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.load.dispatch import Dispatcher


def test_a_closed_loop_sends_as_many_as_it_may_and_then_one_for_each_end() -> None:
    loop = Dispatcher(4, max_concurrency=2, due_s=None)
    assert loop.take(0.0, most=1) == [(0, 0.0)]
    assert loop.take(0.0, most=1) == [(1, 0.0)]
    assert loop.next_due_s() is None
    loop.done(1, 3.0)
    assert loop.next_due_s() == 3.0
    assert loop.take(3.5) == [(2, 3.0)]
    loop.done(0, 4.0)
    loop.done(2, 4.0)
    assert loop.take(4.0) == [(3, 4.0)]
    assert loop.exhausted
    assert loop.in_flight == 1


def test_an_open_loop_sends_on_time_whatever_is_in_flight() -> None:
    loop = Dispatcher(3, max_concurrency=None, due_s=[0.5, 1.0, 1.0])
    assert loop.take(0.4) == []
    assert loop.next_due_s() == 0.5
    assert loop.take(1.2) == [(0, 0.5), (1, 1.0), (2, 1.0)]
    assert loop.next_due_s() is None


def test_a_capped_open_loop_keeps_the_drawn_due_time_while_it_waits() -> None:
    loop = Dispatcher(2, max_concurrency=1, due_s=[0.5, 1.0])
    assert loop.take(2.0) == [(0, 0.5)]
    assert loop.next_due_s() is None
    loop.done(0, 9.0)
    assert loop.take(9.0) == [(1, 1.0)]


def test_nothing_is_due_before_its_time_even_if_a_slot_is_free() -> None:
    loop = Dispatcher(1, max_concurrency=5, due_s=[7.0])
    assert loop.take(6.9) == []
    assert loop.take(7.0) == [(0, 7.0)]


@pytest.mark.parametrize(
    ("count", "cap", "due"), [(1, 0, None), (2, None, [1.0]), (2, None, [2.0, 1.0])]
)
def test_an_impossible_plan_is_refused(
    count: int, cap: int | None, due: list[float] | None
) -> None:
    with pytest.raises(ValueError, match=r"concurrency|due times"):
        Dispatcher(count, max_concurrency=cap, due_s=due)


def test_an_end_without_a_beginning_is_refused() -> None:
    loop = Dispatcher(2, max_concurrency=1, due_s=None)
    with pytest.raises(ValueError, match="not in flight"):
        loop.done(0, 1.0)


def test_standby_is_what_may_be_due_at_once() -> None:
    assert Dispatcher(100, max_concurrency=32, due_s=None).standby == 32
    assert Dispatcher(5, max_concurrency=32, due_s=None).standby == 5
    assert Dispatcher(100, max_concurrency=None, due_s=[i / 2 for i in range(100)]).standby == 11


@given(
    count=st.integers(0, 60),
    cap=st.none() | st.integers(1, 10),
    due=st.none() | st.lists(st.floats(0, 50), min_size=60, max_size=60),
    data=st.data(),
)
def test_each_request_goes_once_in_order_when_due_and_never_over_the_cap(
    count: int, cap: int | None, due: list[float] | None, data: st.DataObject
) -> None:
    schedule = None if due is None else sorted(due)[:count]
    loop = Dispatcher(count, max_concurrency=cap, due_s=schedule)
    flying: list[int] = []
    taken: list[int] = []
    now = 0.0
    while not (loop.exhausted and not flying):
        for request, due_s in loop.take(now):
            assert due_s <= now
            assert schedule is None or due_s == schedule[request]
            taken.append(request)
            flying.append(request)
        assert loop.in_flight == len(flying) <= (cap or count)
        if flying and (data.draw(st.booleans()) or loop.next_due_s() is None):
            loop.done(flying.pop(data.draw(st.integers(0, len(flying) - 1))), now)
        else:
            now = max(now, loop.next_due_s() or now)
    assert taken == list(range(count))
