import msgspec
import numpy as np
import pytest

from workloads.protocol.failure import Failure
from workloads.protocol.openai import Choice, StreamEvent, decode_event
from workloads.protocol.tokens import TokenCounter
from workloads.protocol.usage import Usage


def text(
    content: str = "t", finish: str | None = None, ids: int | None = None, **more: int
) -> StreamEvent:
    token_ids = None if ids is None else [1] * ids
    use = Usage(completion_tokens=more["used"]) if "used" in more else None
    return StreamEvent([Choice(text=content, finish_reason=finish, token_ids=token_ids)], use)


def chat(
    content: str | None, finish: str | None = None, used: int | None = None, **more: str
) -> StreamEvent:
    fields = {"content": content, **more}
    delta = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    choice = Choice(delta=delta, finish_reason=finish)
    return StreamEvent([choice], None if used is None else Usage(completion_tokens=used))


def used(count: object) -> StreamEvent:
    return StreamEvent([], Usage(prompt_tokens=3, completion_tokens=count))  # type: ignore[arg-type]


def counted(*events: StreamEvent) -> TokenCounter:
    counter = TokenCounter()
    for index, one in enumerate(events):
        counter.add(one, float(index))
    return counter


def times(*events: StreamEvent, asked: int | None = None) -> list[float]:
    counter = counted(*events)
    counter.check(asked)
    return counter.times()[0].tolist()


def refusal(*events: StreamEvent, asked: int | None = None) -> str:
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
    # A role is a field that nobody reads: to the counter its chunk is an empty delta.
    role = decode_event(b'{"choices": [{"delta": {"role": "assistant", "content": ""}}]}')
    assert times(role, chat("a"), chat("b", finish="stop"), used(2)) == [1, 2]
    null = decode_event(b'{"choices": [{"delta": {"role": "assistant", "content": null}}]}')
    assert times(null, chat("a"), chat("b", finish="stop"), used(2)) == [1, 2]


def test_a_role_only_first_chunk_under_continuous_usage_is_no_token_either() -> None:
    role = decode_event(
        b'{"choices": [{"delta": {"role": "assistant", "content": ""}}],'
        b' "usage": {"prompt_tokens": 3, "completion_tokens": 0}}'
    )
    events = [role, chat("a", used=1), chat("b", used=2), chat("", finish="length", used=3)]
    counter = counted(*events, used(3))
    counter.check(3)
    assert counter.counts.tolist() == [1, 1, 1]
    assert counter.times()[0].tolist() == [1, 2, 3], "the first token came with the second chunk"


def test_a_first_chunk_whose_usage_has_no_count_yet_is_no_token() -> None:
    first = StreamEvent([*(chat("").choices or [])], Usage(prompt_tokens=3))
    assert times(first, chat("a", used=1), chat("b", finish="stop", used=2), used(2)) == [1, 2]


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


THOUGHTFUL = (
    b'{"choices":[],"usage":{"completion_tokens":4,"reasoning_tokens":2}}',
    b'{"choices":[],"usage":{"completion_tokens":4,'
    b'"completion_tokens_details":{"reasoning_tokens":2}}}',
    b'{"choices":[],"usage":{"completion_tokens":4.0,"prompt_tokens":"\xff",'
    b'"completion_tokens_details":{"reasoning_tokens":2}}}',
)


@pytest.mark.parametrize("said", THOUGHTFUL[:2])
def test_thoughts_that_are_counted_and_not_streamed_have_no_times(said: bytes) -> None:
    answer = [chat("a"), chat("b", finish="length")]
    assert refusal(*answer, decode_event(said), asked=4) == "TOKEN_COUNT_MISMATCH"
    shown = [chat("", reasoning="x"), chat("", reasoning="y"), *answer]
    assert times(*shown, decode_event(said), asked=4) == [0, 1, 2, 3]
    within = [chat("<think>"), chat("x"), *answer]
    assert times(*within, decode_event(said), asked=4) == [0, 1, 2, 3]
    packed = [chat("", reasoning="x y"), *answer]
    assert len(times(*packed, decode_event(said), asked=4)) == 4


def test_thoughts_are_read_beside_fields_that_are_no_json() -> None:
    usage = decode_event(THOUGHTFUL[2]).usage
    assert usage is not None
    assert usage.thoughts == 2


def test_more_tokens_than_events_are_spread_evenly_and_marked() -> None:
    counter = counted(text(), text(), text(finish="length"), used(7))
    counter.check(7)
    token_times, several = counter.times()
    assert counter.resolved().tolist() == [2, 2, 3]
    assert several == 3
    assert token_times.tolist() == pytest.approx([0, 0, 0.5, 1, 4 / 3, 5 / 3, 2])


def test_only_events_of_several_tokens_are_marked_as_such() -> None:
    counter = counted(text(ids=1), text(ids=3), text(ids=1), text(ids=2, finish="stop"), used(7))
    counter.check(7)
    token_times, several = counter.times()
    assert several == 2
    third = 1 / 3
    assert token_times.tolist() == pytest.approx([0, third, 2 * third, 1, 2, 2.5, 3])


def test_one_token_more_than_events_makes_one_of_them_carry_two() -> None:
    counter = counted(text(), text(), text(finish="length"), used(4))
    counter.check(4)
    assert counter.resolved().tolist() == [1, 1, 2]
    assert counter.times()[1] == 1
    assert counter.times()[0].tolist() == [0, 1, 1.5, 2]


def test_the_fast_way_counts_what_the_plain_one_counts() -> None:
    events = [
        chat(""), text(), text("", ids=0), text(ids=2), text(""), text(used=9),
        StreamEvent([]), chat(None, reasoning="x"), text(finish="length"), used(9),
    ]  # fmt: skip
    fast, plain = TokenCounter(), counted(*events)
    fast.add_all(events, range(len(events)))
    for name in ("counts", "stamps_s", "finish_reason", "completion_tokens", "prompt_tokens"):
        assert getattr(fast, name) == getattr(plain, name), name
    assert plain.counts.tolist() == [1, 2, 1, 1, 1]
    assert plain.stamps_s.tolist() == [1, 3, 5, 7, 8]
    assert (plain.prompt_tokens, plain.completion_tokens, plain.usage_seen) == (3, 9, True)


def test_a_finish_reason_stays_when_later_events_have_none() -> None:
    for add in (TokenCounter.add_all, lambda c, es, ts: [c.add(e, t) for e, t in zip(es, ts)]):  # noqa: B905
        counter = TokenCounter()
        add(counter, [text(finish="stop"), text(""), text(), used(2)], [0.0, 1.0, 2.0, 3.0])
        assert counter.finish_reason == "stop"
        assert counter.seen == 2


def test_an_event_without_choices_or_with_null_ones_is_no_token() -> None:
    assert times(StreamEvent(None), text(finish="stop"), StreamEvent([]), used(1)) == [1]


@pytest.mark.parametrize(
    ("events", "asked", "error_class"),
    [
        ([text(), used(1)], None, "NO_FINISH_REASON"),
        ([text(finish="stop")], None, "USAGE_MISSING"),
        ([text(finish="stop"), used("x")], None, "TOKEN_COUNT_MISMATCH"),
        ([text(finish="stop"), used(None)], None, "USAGE_MISSING"),
        ([text(finish="stop"), used(None)], 2, "USAGE_MISSING"),
        ([text(finish="stop"), used(1.5)], None, "TOKEN_COUNT_MISMATCH"),
        ([text(finish="stop"), used(0)], 2, "USAGE_MISSING"),
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
    events: list[StreamEvent], asked: int | None, error_class: str
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


@pytest.mark.parametrize("said", [2**31, 2**63, 2**64, 10**400, -1, 1.5, "3.5", "9" * 5000, 1e300])
def test_a_count_that_no_answer_can_have_is_refused_where_it_enters(said: object) -> None:
    for use in (Usage(prompt_tokens=said), Usage(completion_tokens=said)):  # type: ignore[arg-type]
        with pytest.raises(Failure, match="TOKEN_COUNT_MISMATCH") as raised:
            counted(text(), StreamEvent([], use))
        assert len(raised.value.detail) < 600


def test_the_most_tokens_an_answer_may_have_are_believed_and_one_more_is_not() -> None:
    for said, refused in ((22, False), (23, True)):
        counter = TokenCounter(22)
        counter.add(text(), 0.0)
        if refused:
            with pytest.raises(Failure, match="TOKEN_COUNT_MISMATCH"):
                counter.add(used(said), 1.0)
        else:
            counter.add(used(said), 1.0)
            assert len(counter.times()[0]) == 22


def test_ids_and_cumulative_usage_add_up_to_no_more_than_an_answer_may_have() -> None:
    for events in ([text(ids=12), text(ids=11)], [text(used=12), text(used=23)]):
        counter = TokenCounter(22)
        with pytest.raises(Failure):
            for at, one in enumerate(events):
                counter.add(one, float(at))
        assert counter.times(agreed=False)[0].tolist() == [0.0] * 12


def test_cumulative_usage_that_goes_back_and_forth_counts_no_token_twice() -> None:
    counter = counted(text(used=5), chat("", used=0), chat("", used=5), text(used=6))
    assert counter.resolved(agreed=False).tolist() == [5, 0, 0, 1]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([text(used=0), text(used=0), text(finish="length", used=3)], [0, 1, 2]),
        ([text(used=0), text(used=0), text(finish="length", used=0), used(3)], [0, 1, 2]),
        ([text(used=3), text(used=3), text(finish="length", used=3)], [0, 1, 2]),
        ([text(used=1), text(used=1), text(finish="length", used=1), used(3)], [0, 1, 2]),
        ([text(used=0), text(used=0), text(used=2), text(finish="stop", used=2)], [0, 1, 2, 3]),
        ([text(used=1), text(), text(finish="length", used=3)], [0, 1, 2]),
        ([chat("", used=0), chat("a"), chat("b"), chat("", "length", used=2)], [1, 2]),
        ([chat("", used=1), chat("a"), chat("b"), chat("", "length", used=2)], [1, 2]),
    ],
    ids=[
        "nothing-until-the-last", "nothing-until-apart", "all-from-the-first", "of-each-event",
        "late", "of-some", "of-the-prompt-and-the-end", "of-the-start-and-the-end",
    ],
)  # fmt: skip
def test_usage_that_does_not_grow_with_each_text_says_nothing_of_an_events_tokens(
    events: list[StreamEvent], expected: list[float]
) -> None:
    total = len(expected)
    assert times(*events, used(total)) == expected
    quick = TokenCounter()
    quick.add_all([*events, used(total)], range(len(events) + 1))
    assert quick.times()[0].tolist() == expected


def test_events_of_several_tokens_share_a_total_that_usage_only_tells_at_the_end() -> None:
    events = [text(used=0), text(used=0), text(finish="length", used=6)]
    assert times(*events, asked=6) == [0, 0, 0.5, 1, 1.5, 2]


def test_of_an_answer_that_failed_only_what_was_seen_counts() -> None:
    counter = counted(text(), text(""), text(finish="length"), used(9))
    assert counter.times(agreed=False)[0].tolist() == [0, 2]


def at(*stamped: tuple[float, str], total: int) -> tuple[list[float], bool]:
    """Times of tokens, and whether the first is in doubt, of text events at their instants."""
    counter = TokenCounter()
    for stamp, content in stamped:
        counter.add(text(content), stamp)
    counter.add(StreamEvent([], Usage(completion_tokens=total)), 99)
    return counter.times()[0].tolist(), counter.first_is_uncertain


def test_an_empty_event_before_text_of_several_tokens_is_no_first_token() -> None:
    times, doubt = at((0, ""), (50, "abcd"), (60, "abcd"), (70, "abcd"), total=12)
    assert (times[0], len(times), doubt) == (50, 12, True)


def test_text_held_back_all_along_makes_every_event_a_token() -> None:
    times, doubt = at(*((float(i), "abc" if i % 3 == 2 else "") for i in range(9)), total=9)
    assert (times, doubt) == ([float(i) for i in range(9)], False)


def test_an_empty_event_long_before_the_text_gets_no_token_that_others_may_hold() -> None:
    late, doubt = at((0, ""), (50, "a"), (60, "a"), (70, "ab"), total=4)
    assert (late[0], doubt) == (50, True)
    held, doubt = at((40, ""), (50, "a"), (60, "a"), (70, "a"), total=4)
    assert (held, doubt) == ([40, 50, 60, 70], False)


def test_an_empty_event_too_many_is_no_token_and_no_doubt() -> None:
    assert at((0, ""), (50, "a"), (60, "a"), total=2) == ([50, 60], False)
