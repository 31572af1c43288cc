"""The log and its replay: each read to its exchange, whoever had the socket before."""

import gc
import weakref
from typing import Any

import pytest

from workloads.exchange import Exchange
from workloads.readlog import ReadLog
from workloads.replay import Replay


def exchange(number: int, fd: int) -> Exchange:
    one = Exchange(number, 0.0, 3)
    one.fd, one.sent, one.done = fd, 0.0, 9.0
    return one


def replayed(log: ReadLog, **options: Any) -> list[Exchange]:
    finished: list[Exchange] = []
    replay = Replay(log, finished=finished.append, hopeless=lambda _: None, **options)
    log.seal()
    while replay.replay_for(1.0):
        pass
    return finished


@pytest.mark.parametrize("sealing", [False, True])
def test_two_sockets_and_two_exchanges_a_socket_are_kept_apart(wire: Any, sealing: bool) -> None:
    log = ReadLog()
    answer = wire.answer(wire.stream(3))
    first, second, third = exchange(0, 5), exchange(1, 6), exchange(2, 5)
    log.begins(first)
    log.begins(second)
    for at in range(0, len(answer), 40):
        log.now.add(5, answer[at : at + 40], float(at))
        log.now.add(6, answer[at : at + 40], float(at))
        if sealing:
            log.seal()
    log.ends(first)
    log.begins(third)
    log.now.add(5, answer, 999.0)
    log.ends(third)
    log.ends(second)
    finished = replayed(log)
    assert [one.request for one in finished] == [0, 2, 1]
    rows = [one.row(0.0, 4) for one in finished]
    assert {row.status for row in rows} == {"ok"}
    assert rows[1].token_times_s.tolist() == [999.0] * 3
    assert log.held_bytes == 0


def test_a_socket_is_heard_when_something_came_from_it_and_no_other_is() -> None:
    log = ReadLog()
    asked = exchange(0, 5)
    log.begins(asked)
    log.now.add(5, b"one", 1.0)
    log.now.add(6, b"two", 2.0)
    log.withdraw(asked)
    log.listen()
    assert log.heard(6) == 2.0
    assert [fd for fd in range(2000) if log.heard(fd)] == [6]


def test_what_is_withdrawn_is_not_replayed_again(wire: Any) -> None:
    log = ReadLog()
    answer = wire.answer(wire.stream(3))
    one = exchange(0, 5)
    log.begins(one)
    for at in range(0, len(answer), 50):
        log.now.add(5, answer[at : at + 50], float(at))
        if at % 100:
            log.seal()
    log.withdraw(one)
    one.decode()
    assert one.decoder.body.complete
    log.ends(one)
    (finished,) = replayed(log)
    row = finished.row(0.0, None)
    assert (row.status, row.output_tokens, row.reads) == ("ok", 3, -(-len(answer) // 50))


def test_a_request_sent_again_takes_nothing_of_the_answer_before_it_on_its_socket(
    wire: Any,
) -> None:
    log, answer = ReadLog(), wire.answer(wire.stream(3))
    first, again = exchange(0, 7), exchange(1, 5)
    log.begins(first)
    log.now.add(7, answer[:100], 1.0)
    log.begins(again)  # on socket 5, which the server had closed
    log.now.add(7, answer[100:], 2.0)
    log.ends(first)
    again.fd = 7
    log.begins(again)
    log.now.add(7, answer, 3.0)
    log.ends(again)
    assert [one.row(0.0, 4).status for one in replayed(log)] == ["ok", "ok"]


@pytest.mark.parametrize("sealed", range(4))
def test_what_is_decoded_at_once_takes_nothing_of_the_answer_before_it_on_its_socket(
    wire: Any, sealed: int
) -> None:
    log, answer = ReadLog(), wire.answer(wire.stream(3))
    first, second = exchange(0, 7), exchange(1, 7)
    steps = [
        lambda: log.begins(first),
        lambda: log.now.add(7, answer, 1.0),
        lambda: log.ends(first),
        lambda: log.begins(second),
        lambda: log.now.add(7, answer, 2.0),
    ]
    for number, step in enumerate(steps):
        step()
        if number == sealed:
            log.seal()
    log.withdraw(second)
    log.ends(second)
    times = [one.row(0.0, 4).token_times_s.tolist() for one in replayed(log)]
    assert times == [[1.0] * 3, [2.0] * 3]
    assert log.held_bytes == 0


def test_reads_that_belong_to_nobody_are_passed_over(wire: Any) -> None:
    log = ReadLog()
    log.now.add(7, b"unasked for", 0.0)
    assert replayed(log) == []


def test_a_hopeless_answer_is_told_of_while_it_is_under_way(wire: Any) -> None:
    log, told = ReadLog(), []
    one = exchange(0, 5)
    one.done = None
    log.begins(one)
    log.now.add(5, wire.HEAD, 0.0)
    for index in range(300):
        log.now.add(5, b"not a chunk\r\n", float(index))
    log.seal()
    replay = Replay(log, finished=lambda _: None, hopeless=told.append)
    while replay.replay_for(1.0):
        pass
    assert told == [one]


def test_a_full_backlog_is_relieved_until_it_is_bearable(wire: Any) -> None:
    log, finished = ReadLog(), []
    answer = wire.answer(wire.stream(3))
    replay = Replay(
        log, finished=finished.append, hopeless=lambda _: None, comfortable_bytes=10 * len(answer)
    )
    for number in range(100):
        one = exchange(number, 5)
        log.begins(one)
        log.now.add(5, answer, 0.0)
        log.ends(one)
        log.seal()
    assert replay.pressing
    while replay.pressing:
        replay.relieve()
    assert 0 <= log.held_bytes <= 10 * len(answer)
    assert len(finished) >= 85


def test_the_log_knows_when_a_socket_was_last_heard() -> None:
    log = ReadLog()
    for stamp in (1.0, 2.0):
        log.now.add(2000, b"x", stamp)
    log.now.add(3, b"x", 3.0)
    log.listen()
    assert (log.heard(2000), log.heard(3), log.heard(4), log.heard(10**6)) == (2.0, 3.0, 0.0, 0.0)


def test_a_finished_exchange_leaves_no_cycle_behind(wire: Any) -> None:
    """The collector is off while the load runs, so a cycle a request would be a leak."""
    gc.collect()
    gc.disable()
    try:
        for answer in (wire.answer(wire.stream(3)), wire.HEAD + b"zz\r\n", wire.plain("404 No")):
            log, one = ReadLog(), exchange(0, 5)
            log.begins(one)
            log.now.add(5, answer, 0.0)
            log.ends(one)
            finished = replayed(log)
            finished[0].row(0.0, None)
            decoder = weakref.ref(one.decoder.body)
            del finished, one, log
            assert decoder() is None
    finally:
        gc.enable()
