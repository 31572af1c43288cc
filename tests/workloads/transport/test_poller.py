import socket
from collections.abc import Iterator

import pytest

from workloads.transport.poller import READ, WRITE, Poller, SelectorPoller, open_poller


@pytest.fixture(params=[open_poller, SelectorPoller])
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    opened: Poller = request.param()
    yield opened
    opened.close()


def test_what_can_be_read_and_written_is_told_as_asked(poller: Poller) -> None:
    left, right = socket.socketpair()
    with left, right:
        poller.register(left.fileno(), READ)
        assert poller.poll(0) == []
        right.send(b"x")
        assert poller.poll(0) == [(left.fileno(), READ)]
        poller.modify(left.fileno(), READ | WRITE)
        assert poller.poll(0) == [(left.fileno(), READ | WRITE)]
        left.recv(1)
        assert poller.poll(0) == [(left.fileno(), WRITE)]
        poller.unregister(left.fileno())
        assert poller.poll(0) == []
    assert poller.fileno() >= 0
