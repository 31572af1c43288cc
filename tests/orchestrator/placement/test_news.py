"""What an agent tells arrives once and in order, however many answers are lost on their way."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import MoeserveError, RunFailed, ServerDied, ServerError, ServerStartTimeout
from orchestrator.cluster import news as news_module
from orchestrator.cluster.news import News
from orchestrator.cluster.wire import LogTold, StageTold, error_from, failed_from


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "PERIOD_S", 0.0)


@given(st.lists(st.sampled_from(["tell", "ask", "lose"]), max_size=40))
def test_every_piece_of_news_is_heard_once_and_in_order(steps: list[str]) -> None:
    news, heard, told = News(), [], 0
    for step in [*steps, "ask"]:
        if step == "tell":
            news.tell(StageTold(str(told)))
            told += 1
            continue
        answer = news.after(len(heard))
        if step == "ask":
            heard += answer
    assert [each.text for each in heard] == [str(number) for number in range(told)]


def test_the_log_is_told_as_it_grows_and_whole(tmp_path: Path) -> None:
    news, log = News(), tmp_path / "server.log"
    news.follow(log)
    assert news.after(0) == []
    log.write_bytes(b"one\n")
    assert news.after(0) == [LogTold(b"one\n")]
    with log.open("ab") as file:
        file.write(b"two\n")
    assert news.after(1) == [LogTold(b"two\n")]


@pytest.mark.parametrize(
    "error",
    [
        ServerDied("ENGINE_DEAD: it ended", stage="serving", log_tail="last words"),
        ServerStartTimeout("START_TIMEOUT: not ready", stage="loading"),
        RunFailed("something else"),
    ],
)
def test_an_error_of_the_node_is_the_same_error_here(error: MoeserveError) -> None:
    again = error_from(failed_from(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert getattr(again, "log_tail", "") == getattr(error, "log_tail", "")


def test_a_fault_of_the_agent_is_a_failed_server_that_says_so() -> None:
    again = error_from(failed_from(KeyError("x")))
    assert isinstance(again, ServerError)
    assert str(again) == "AGENT_FAILED: KeyError: 'x'"
