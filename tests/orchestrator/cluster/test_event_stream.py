"""An agent's events arrive once and in order, however many replies are lost on their way."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import MoeserveError, RunFailed, ServerDied, ServerError, ServerStartTimeout
from orchestrator.cluster import event_stream
from orchestrator.cluster.event_stream import EventLog
from orchestrator.cluster.messages import LogAppended, StageChanged, decode_error, encode_error


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "PERIOD_S", 0.0)


@given(st.lists(st.sampled_from(["append", "fetch", "lose"]), max_size=40))
def test_every_event_is_received_once_and_in_order(steps: list[str]) -> None:
    events, received, sent = EventLog(), [], 0
    for step in [*steps, "fetch"]:
        if step == "append":
            events.append(StageChanged(str(sent)))
            sent += 1
            continue
        answer = events.fetch(len(received))
        if step == "fetch":
            received += answer
    assert [each.text for each in received] == [str(number) for number in range(sent)]


def test_the_log_is_sent_as_it_grows_and_whole(tmp_path: Path) -> None:
    events, log = EventLog(), tmp_path / "server.log"
    events.follow_log(log)
    assert events.fetch(0) == []
    log.write_bytes(b"one\n")
    assert events.fetch(0) == [LogAppended(b"one\n")]
    with log.open("ab") as file:
        file.write(b"two\n")
    assert events.fetch(1) == [LogAppended(b"two\n")]


@pytest.mark.parametrize(
    "error",
    [
        ServerDied("ENGINE_DEAD: it ended", stage="serving", log_tail="last words"),
        ServerStartTimeout("START_TIMEOUT: not ready", stage="loading"),
        RunFailed("something else"),
    ],
)
def test_an_error_of_the_node_is_the_same_error_here(error: MoeserveError) -> None:
    again = decode_error(encode_error(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert getattr(again, "log_tail", "") == getattr(error, "log_tail", "")


def test_a_fault_of_the_agent_is_a_failed_server_that_says_so() -> None:
    again = decode_error(encode_error(KeyError("x")))
    assert isinstance(again, ServerError)
    assert str(again) == "AGENT_FAILED: KeyError: 'x'"
