"""Events as odd servers write them: what is measured counts, the rest may be anything."""

from typing import Any

import pytest

from workloads.protocol.decode import ResponseDecoder


def decoded(data: bytes, asked: int) -> ResponseDecoder:
    decoder = ResponseDecoder(asked)
    decoder.feed([data], [0.0])
    if not decoder.complete:
        decoder.end()
    return decoder


ODD = (
    b'{"choices":[{"text":"\xff\xfe"}]}',
    rb'{"choices":[{"text":"\ud83d"}]}',
    b'{"choices":[{"text":"a"}],"error":""}',
    b'{"choices":[{"text":"a"}],"error":{}}',
    b'{"choices":[{"text":"a"}],"error":false}',
    b'{"choices":[{"text":"a","logprobs":{"token_logprobs":[NaN]}}]}',
    b'{"choices":[{"text":["a"]}]}',
    b'{"choices":[{"delta":{"content":[{"type":"text","text":"a"}]}}]}',
    b'{"choices":[{"delta":{"tool_calls":{"name":"f"}}}]}',
    b'{"choices":[{"text":"a","finish_reason":{"type":"length","length":3}}],"id":7}',
    b'{"choices":[{"text":"a"}],"object":5,"message":["no","text"],"model":1}',
)


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_measured_may_be_anything(wire: Any, odd: bytes) -> None:
    events = [b"data: " + odd + b"\n\n" for _ in range(2)]
    last = wire.event(wire.token(finish="length"))
    decoder = decoded(wire.answer([*events, last, wire.event(wire.usage(3)), wire.DONE]), 3)
    assert decoder.failure is None
    assert len(decoder.tokens.times()[0]) == 3


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (b'event: error\ndata: {"message":"rank 3 died","code":500}\n\n', "rank 3 died"),
        (b"event: error\ndata: rank 3 died\n\n", "rank 3 died"),
        (b"event: error\n: rank 3 died\n\n", "rank 3 died"),
        (b'event: error\ndata: {"error":{"message":"rank 3 died"}}\n\n', "rank 3 died"),
        (b"event: error\n\n", "event: error"),
        (b'data: {"detail":"rank 3 died","status_code":500}\n\n', "rank 3 died"),
        (b'data: {"error":"rank 3 died"}\n\n', "rank 3 died"),
    ],
)
def test_whatever_way_a_server_tells_an_error_its_words_are_kept(
    wire: Any, event: bytes, said: str
) -> None:
    decoder = decoded(wire.answer([wire.event(wire.token()), event]), 3)
    assert decoder.failure is not None
    assert decoder.failure.error_class == "STREAM_ERROR"
    assert said in decoder.failure.detail
    assert decoder.tokens.seen == 1


def test_an_error_event_is_one_wherever_its_bytes_are_cut(wire: Any) -> None:
    whole = wire.answer([wire.event(wire.token()), b'event: error\ndata: {"code":500}\n\n'])
    for cut in range(len(whole)):
        decoder = ResponseDecoder(3)
        decoder.feed([whole[:cut], whole[cut:]], [0.0, 1.0])
        decoder.end()
        assert decoder.failure is not None
        assert (decoder.failure.error_class, decoder.failure.detail) == (
            "STREAM_ERROR", '{"code":500}',
        ), whole[cut:]  # fmt: skip


def test_an_error_event_in_two_chunks_is_one(wire: Any) -> None:
    pieces = [wire.event(wire.token()), b"event: error\n", b'data: {"code":500}\n\n']
    decoder = decoded(wire.answer(pieces), 3)
    assert decoder.failure is not None
    assert decoder.failure.error_class == "STREAM_ERROR"


def test_cached_tokens_are_read_beside_counts_that_are_no_numbers(wire: Any) -> None:
    use = b'{"prompt_tokens":16,"completion_tokens":1,"prompt_cache_hit_tokens":12,'
    odd = b'data: {"choices":[],"usage":' + use + b'"prompt_tokens_details":{"cached_tokens":"?"}}}'
    last = wire.event(wire.token(finish="length"))
    assert decoded(wire.answer([last, odd + b"\n\n", wire.DONE]), 1).tokens.cached_tokens == 12


def test_an_event_without_data_or_of_another_kind_is_passed_over(wire: Any) -> None:
    odd = [b"event: ping\ndata: \n\n", b"data:\n\n", b'data: {"type":"ping"}\n\n']
    events = [odd[0], *wire.stream(3)[:2], odd[1], odd[2], *wire.stream(3)[2:]]
    decoder = decoded(wire.answer(events), 3)
    assert decoder.failure is None
    assert len(decoder.tokens.times()[0]) == 3


def test_all_tokens_without_done_or_usage_are_an_answer_with_a_note(wire: Any) -> None:
    tokens = [*[wire.event(wire.token())] * 2, wire.event(wire.token(finish="length"))]
    use, done = wire.event(wire.usage(3)), wire.DONE
    for events, notes in (
        ([*tokens, use], ["NO_DONE"]),
        ([*tokens, done], ["USAGE_MISSING"]),
        (tokens, ["NO_DONE", "USAGE_MISSING"]),
    ):
        decoder = decoded(wire.answer(events), 3)
        assert (decoder.failure, decoder.notes) == (None, notes)
        assert len(decoder.tokens.times()[0]) == 3
    for events in (tokens[1:], [*tokens[1:], done]):
        failure = decoded(wire.answer(events), 3).failure
        assert failure is not None
        assert "2 tokens seen of 3" in failure.detail


@pytest.mark.parametrize(
    "reason", ["abort", "error", "Cancelled", "content_filter", "timeout", "engine_error", "SAFETY"]
)
def test_an_answer_that_the_server_gave_up_is_no_answer(wire: Any, reason: str) -> None:
    events = [wire.event(wire.token()), wire.event(wire.token(finish=reason))]
    decoder = decoded(wire.answer([*events, wire.event(wire.usage(2)), wire.DONE]), 4)
    assert decoder.failure is not None
    assert decoder.failure.error_class == "ABORTED"
    assert reason in decoder.failure.detail
