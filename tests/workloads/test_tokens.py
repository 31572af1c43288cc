import numpy as np
import pytest

from workloads.failure import Failure
from workloads.openai import Choice, Delta, Event, Usage
from workloads.tokens import TokenCounter


def text(
    content: str = "t", finish: str | None = None, ids: int | None = None, **more: int
) -> Event:
    token_ids = None if ids is None else [1] * ids
    use = Usage(completion_tokens=more["used"]) if "used" in more else None
    return Event([Choice(text=content, finish_reason=finish, token_ids=token_ids)], use)


def chat(content: str | None, finish: str | None = None, **more: str) -> Event:
    return Event([Choice(delta=Delta(content=content, **more), finish_reason=finish)])


def used(count: object) -> Event:
    return Event([], Usage(prompt_tokens=3, completion_tokens=count))  # type: ignore[arg-type]


def counted(*events: Event) -> TokenCounter:
    counter = TokenCounter()
    for index, one in enumerate(events):
        counter.add(one, float(index))
    return counter


def times(*events: Event, asked: int | None = None) -> list[float]:
    counter = counted(*events)
    counter.check(asked)
    return counter.times()[0].tolist()


def refusal(*events: Event, asked: int | None = None) -> str:
    with pytest.raises(Failure) as raised:
        counted(*events).check(asked)
    return raised.value.error_class


def test_an_event_with_text_is_a_token() -> None:
    assert times(text(), text(), text(finish="length"), used(3), asked=3) == [0, 1, 2]


def test_token_ids_count_and_a_gap_is_shared_over_the_tokens_of_its_event() -> None:
    assert times(text(ids=1), text(ids=4, finish="stop"), used(5)) == [0, 0.25, 0.5, 0.75, 1]


def test_tokens_of_the_first_event_have_its_time() -> None:
    assert times(text(ids=2), text(ids=1, finish="stop"), used(3)) == [0, 0, 1]


def test_an_event_with_text_and_no_ids_among_others_with_ids_adds_none() -> None:
    assert times(text(ids=1), text("", ids=0), text(ids=1, finish="stop"), used(2)) == [0, 2]


def test_cumulative_usage_tells_the_tokens_of_each_event() -> None:
    events = [text(used=1), text(used=3), text(finish="length", used=4), used(4)]
    assert times(*events, asked=4) == [0, 0.5, 1, 2]


def test_usage_in_the_last_event_alone_is_not_cumulative() -> None:
    assert times(text(), text(finish="length", used=2), asked=2) == [0, 1]


def test_a_role_only_first_chunk_is_no_token() -> None:
    role = chat("", role="assistant") if False else chat("")
    assert times(role, chat("a"), chat("b", finish="stop"), used(2)) == [1, 2]


def test_empty_deltas_are_tokens_only_if_usage_says_so() -> None:
    events = [text(), text(""), text(), text("", finish="stop")]
    assert times(*events, used(2)) == [0, 2]
    assert times(*events, used(3)) == [0, 1, 2]
    assert times(*events, used(4)) == [0, 1, 2, 3]


def test_reasoning_and_tool_calls_are_tokens_too() -> None:
    events = [
        chat(None, reasoning_content="a"),
        chat(None, reasoning="b"),
        chat("c", finish="stop"),
    ]
    assert times(*events, used(3)) == [0, 1, 2]


def test_more_tokens_than_events_are_spread_evenly_and_marked() -> None:
    counter = counted(text(), text(), text(finish="length"), used(7))
    counter.check(7)
    token_times, several = counter.times()
    assert counter.resolved().tolist() == [2, 2, 3]
    assert several == 3
    assert token_times.tolist() == pytest.approx([0, 0, 0.5, 1, 4 / 3, 5 / 3, 2])


def test_an_event_without_choices_or_with_null_ones_is_no_token() -> None:
    assert times(Event(None), text(finish="stop"), Event([]), used(1)) == [1]


@pytest.mark.parametrize(
    ("events", "asked", "error_class"),
    [
        ([text(), used(1)], None, "NO_FINISH_REASON"),
        ([text(finish="stop")], None, "USAGE_MISSING"),
        ([text(finish="stop"), used("1")], None, "TOKEN_COUNT_MISMATCH"),
        ([text(finish="stop"), used(None)], None, "TOKEN_COUNT_MISMATCH"),
        ([text(finish="stop"), used(1.5)], None, "TOKEN_COUNT_MISMATCH"),
        ([text(finish="stop"), used(0)], None, "TOKEN_COUNT_MISMATCH"),
        ([text(), text(finish="stop"), used(1)], None, "TOKEN_COUNT_MISMATCH"),
        ([text(ids=2), text(ids=1, finish="stop"), used(4)], None, "TOKEN_COUNT_MISMATCH"),
        ([text(used=1), text(finish="stop", used=2), used(3)], None, "TOKEN_COUNT_MISMATCH"),
        ([text(), text(finish="length"), used(3)], 2, "TOKEN_COUNT_MISMATCH"),
        ([text(), text(finish="length"), used(2)], 3, "TOKEN_COUNT_MISMATCH"),
        ([chat("", finish="stop"), used(0)], None, "ZERO_TOKENS"),
        ([used(5), chat("", finish="stop")], None, "TOKEN_COUNT_MISMATCH"),
    ],
)
def test_counts_that_disagree_have_a_class(
    events: list[Event], asked: int | None, error_class: str
) -> None:
    assert refusal(*events, asked=asked) == error_class


def test_a_stream_that_ends_early_by_itself_is_not_a_mismatch() -> None:
    assert len(times(text(), text(finish="stop"), used(2), asked=5)) == 2


def test_times_never_fall() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        events = [text(ids=int(ids)) for ids in rng.integers(0, 5, 20)]
        counter = counted(*events)
        token_times, _ = counter.times()
        assert (np.diff(token_times) >= 0).all()
        assert len(token_times) == counter.seen
