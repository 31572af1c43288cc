"""Between answers that end together, the requests that they make due are sent."""

from types import SimpleNamespace
from typing import Any

import pytest

from workloads.transport.reader import ENDED_PER_SEND, Reader
from workloads.transport.trace import ReadTrace

ENDED = 3 * ENDED_PER_SEND + 1


def test_a_reading_stops_at_some_answers_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sockets = iter([*range(ENDED), *[-1] * 9])
    compiled = SimpleNamespace(read=lambda *_: next(sockets), forget=lambda: None, error=0, mask=1)
    waiting: Any = SimpleNamespace(poller=SimpleNamespace(poll=None), compiled=compiled)
    pool: Any = SimpleNamespace(idle=[])
    listener: Any = None
    target: Any = SimpleNamespace(secure=False, ends_at_done=False)
    handled: list[int] = pool.idle
    monkeypatch.setattr(Reader, "_handle_socket", lambda _self, fd, *_: handled.append(fd))
    reader = Reader(pool, ReadTrace(), waiting, listener, target)
    seen = []
    while len(handled) < ENDED:
        reader.read(0.0)
        seen.append(len(handled))
    assert seen == [ENDED_PER_SEND, 2 * ENDED_PER_SEND, 3 * ENDED_PER_SEND, ENDED]
    assert handled == list(range(ENDED))
