"""A socket that carries several answers: each keeps its own, wherever in the log it began."""

from typing import Any

import pytest

from workloads.exchange import Exchange
from workloads.readlog import ReadLog
from workloads.replay import Replay


def test_a_request_sent_again_takes_nothing_of_the_answer_before_it_on_its_socket(
    wire: Any,
) -> None:
    log, answer = ReadLog(), wire.answer(wire.stream(3))
    first, again = Exchange(0, 0.0, 3), Exchange(1, 0.0, 3)
    for one in (first, again):
        one.sent, one.done = 0.0, 9.0
    first.fd, again.fd = 7, 5
    log.begins(first)
    log.now.add(7, answer[:100], 1.0)
    log.begins(again)  # on socket 5, which the server had closed
    log.now.add(7, answer[100:], 2.0)
    log.ends(first)
    again.fd = 7
    log.begins(again)
    log.now.add(7, answer, 3.0)
    log.ends(again)
    log.seal()
    finished: list[Exchange] = []
    replay = Replay(log, finished=finished.append, hopeless=lambda _: None)
    while replay.replay_for(1.0):
        pass
    assert [one.row(0.0, 4).status for one in finished] == ["ok", "ok"]


@pytest.mark.parametrize("sealed", range(4))
def test_what_is_decoded_at_once_takes_nothing_of_the_answer_before_it_on_its_socket(
    wire: Any, sealed: int
) -> None:
    log, answer = ReadLog(), wire.answer(wire.stream(3))
    first, second = Exchange(0, 0.0, 3), Exchange(1, 0.0, 3)
    for one in (first, second):
        one.fd, one.sent, one.done = 7, 0.0, 9.0
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
    log.seal()
    finished: list[Exchange] = []
    replay = Replay(log, finished=finished.append, hopeless=lambda _: None)
    while replay.replay_for(1.0):
        pass
    assert [one.row(0.0, 4).token_times_s.tolist() for one in finished] == [[1.0] * 3, [2.0] * 3]
    assert log.held_bytes == 0
