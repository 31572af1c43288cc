"""The trace and its replay: each read to its exchange, whoever had the socket before."""

import gc
import weakref
from typing import Any

import pytest

from workloads.protocol.exchange import Exchange
from workloads.transport.replay import Replay
from workloads.transport.trace import ReadTrace


def exchange(number: int, fd: int) -> Exchange:
    one = Exchange(number, 0.0, 3)
    one.fd, one.sent, one.done = fd, 0.0, 9.0
    return one


def replayed(trace: ReadTrace, **options: Any) -> list[Exchange]:
    finished: list[Exchange] = []
    replay = Replay(trace, finished=finished.append, doomed=lambda _: None, **options)
    trace.seal()
    while replay.replay_for(1.0):
        pass
    return finished


@pytest.mark.parametrize("sealing", [False, True])
def test_two_sockets_and_two_exchanges_a_socket_are_kept_apart(wire: Any, sealing: bool) -> None:
    trace = ReadTrace()
    answer = wire.answer(wire.stream(3))
    first, second, third = exchange(0, 5), exchange(1, 6), exchange(2, 5)
    trace.mark_begin(first)
    trace.mark_begin(second)
    for at in range(0, len(answer), 40):
        trace.current.add(5, answer[at : at + 40], float(at))
        trace.current.add(6, answer[at : at + 40], float(at))
        if sealing:
            trace.seal()
    trace.mark_end(first)
    trace.mark_begin(third)
    trace.current.add(5, answer, 999.0)
    trace.mark_end(third)
    trace.mark_end(second)
    finished = replayed(trace)
    assert [one.request for one in finished] == [0, 2, 1]
    rows = [one.row(0.0, 4) for one in finished]
    assert {row.status for row in rows} == {"ok"}
    assert rows[1].token_times_s.tolist() == [999.0] * 3
    assert trace.held_bytes == 0


def test_a_socket_is_heard_when_something_came_from_it_and_no_other_is() -> None:
    trace = ReadTrace()
    asked = exchange(0, 5)
    trace.mark_begin(asked)
    trace.current.add(5, b"one", 1.0)
    trace.current.add(6, b"two", 2.0)
    trace.withdraw(asked)
    trace.update_last_reads()
    assert trace.last_read(6) == 2.0
    assert [fd for fd in range(2000) if trace.last_read(fd)] == [6]


def test_what_is_withdrawn_is_not_replayed_again(wire: Any) -> None:
    trace = ReadTrace()
    answer = wire.answer(wire.stream(3))
    one = exchange(0, 5)
    trace.mark_begin(one)
    for at in range(0, len(answer), 50):
        trace.current.add(5, answer[at : at + 50], float(at))
        if at % 100:
            trace.seal()
    trace.withdraw(one)
    one.decode()
    assert one.decoder.body.complete
    trace.mark_end(one)
    (finished,) = replayed(trace)
    row = finished.row(0.0, None)
    assert (row.status, row.output_tokens, row.reads) == ("ok", 3, -(-len(answer) // 50))


def test_a_request_sent_again_takes_nothing_of_the_answer_before_it_on_its_socket(
    wire: Any,
) -> None:
    trace, answer = ReadTrace(), wire.answer(wire.stream(3))
    first, again = exchange(0, 7), exchange(1, 5)
    trace.mark_begin(first)
    trace.current.add(7, answer[:100], 1.0)
    trace.mark_begin(again)  # on socket 5, which the server had closed
    trace.current.add(7, answer[100:], 2.0)
    trace.mark_end(first)
    again.fd = 7
    trace.mark_begin(again)
    trace.current.add(7, answer, 3.0)
    trace.mark_end(again)
    assert [one.row(0.0, 4).status for one in replayed(trace)] == ["ok", "ok"]


@pytest.mark.parametrize("sealed", range(4))
def test_what_is_decoded_at_once_takes_nothing_of_the_answer_before_it_on_its_socket(
    wire: Any, sealed: int
) -> None:
    trace, answer = ReadTrace(), wire.answer(wire.stream(3))
    first, second = exchange(0, 7), exchange(1, 7)
    steps = [
        lambda: trace.mark_begin(first),
        lambda: trace.current.add(7, answer, 1.0),
        lambda: trace.mark_end(first),
        lambda: trace.mark_begin(second),
        lambda: trace.current.add(7, answer, 2.0),
    ]
    for number, step in enumerate(steps):
        step()
        if number == sealed:
            trace.seal()
    trace.withdraw(second)
    trace.mark_end(second)
    times = [one.row(0.0, 4).token_times_s.tolist() for one in replayed(trace)]
    assert times == [[1.0] * 3, [2.0] * 3]
    assert trace.held_bytes == 0


def test_reads_that_belong_to_nobody_are_passed_over(wire: Any) -> None:
    trace = ReadTrace()
    trace.current.add(7, b"unasked for", 0.0)
    assert replayed(trace) == []


def test_a_hopeless_answer_is_told_of_while_it_is_under_way(wire: Any) -> None:
    trace, told = ReadTrace(), []
    one = exchange(0, 5)
    one.done = None
    trace.mark_begin(one)
    trace.current.add(5, wire.HEAD, 0.0)
    for index in range(300):
        trace.current.add(5, b"not a chunk\r\n", float(index))
    trace.seal()
    replay = Replay(trace, finished=lambda _: None, doomed=told.append)
    while replay.replay_for(1.0):
        pass
    assert told == [one]


def test_a_full_backlog_is_relieved_until_it_is_bearable(wire: Any) -> None:
    trace, finished = ReadTrace(), []
    answer = wire.answer(wire.stream(3))
    replay = Replay(
        trace, finished=finished.append, doomed=lambda _: None, budget_bytes=10 * len(answer)
    )
    for number in range(100):
        one = exchange(number, 5)
        trace.mark_begin(one)
        trace.current.add(5, answer, 0.0)
        trace.mark_end(one)
        trace.seal()
    assert replay.behind
    while replay.behind:
        replay.catch_up()
    assert 0 <= trace.held_bytes <= 10 * len(answer)
    assert len(finished) >= 85


def test_the_log_knows_when_a_socket_was_last_heard() -> None:
    trace = ReadTrace()
    for stamp in (1.0, 2.0):
        trace.current.add(2000, b"x", stamp)
    trace.current.add(3, b"x", 3.0)
    trace.update_last_reads()
    assert (
        trace.last_read(2000),
        trace.last_read(3),
        trace.last_read(4),
        trace.last_read(10**6),
    ) == (2.0, 3.0, 0.0, 0.0)


def test_a_finished_exchange_leaves_no_cycle_behind(wire: Any) -> None:
    """The collector is off while the load runs, so a cycle a request would be a leak."""
    gc.collect()
    gc.disable()
    try:
        for answer in (wire.answer(wire.stream(3)), wire.HEAD + b"zz\r\n", wire.plain("404 No")):
            trace, one = ReadTrace(), exchange(0, 5)
            trace.mark_begin(one)
            trace.current.add(5, answer, 0.0)
            trace.mark_end(one)
            finished = replayed(trace)
            finished[0].row(0.0, None)
            decoder = weakref.ref(one.decoder.body)
            del finished, one, trace
            assert decoder() is None
    finally:
        gc.enable()


def test_a_text_of_more_tokens_than_it_can_have_fails_its_request(wire: Any) -> None:
    for said, status in ((500, "ok"), (501, "failed")):
        asked = Exchange(0, 0.0, 3)
        asked.sent = asked.done = 0.0
        events = [*wire.stream(3)[:3], wire.event(wire.usage(3, prompt=said)), wire.DONE]
        asked.take(wire.answer(events), 1.0)
        asked.end()
        row = asked.row(0.0, None, 500)
        assert row.status == status
        assert row.input_tokens == row.server_input_tokens == (said if status == "ok" else None)
        assert row.error_class == ("" if status == "ok" else "TOKEN_COUNT_MISMATCH")
