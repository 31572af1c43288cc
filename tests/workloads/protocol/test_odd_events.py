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


USED = b'{"prompt_tokens":4,"completion_tokens":8}'
SPOKEN = tuple(
    b"data: " + said + b"\n\n"
    for said in (
        b'{"choices":[{"text":"","usage":' + USED + b"}]}",
        b'{"choices":[],"x_groq":{"id":"r","usage":' + USED + b"}}",
        b'{"choices":[],"usage":{"input_tokens":4,"output_tokens":8}}',
        b'{"choices":[],"usage":{"prompt_tokens":"4","completion_tokens":"8"}}',
        b'{"choices":[],"usage":' + USED + b'}\n\ndata: {"choices":[],"usage":{}}',
    )
)


@pytest.mark.parametrize("usage", SPOKEN)
@pytest.mark.parametrize("strict", [True, False])
def test_usage_is_found_in_every_place_where_servers_put_it(
    wire: Any, usage: bytes, *, strict: bool
) -> None:
    if not strict:
        usage = usage.replace(b'"choices"', b'"id":"\xff","choices"')
    events = [wire.event(wire.token()), wire.event(wire.token(finish="length")), usage]
    decoder = decoded(wire.answer([*events, wire.DONE]), 8)
    assert decoder.failure is None
    assert (decoder.tokens.prompt_tokens, len(decoder.tokens.times()[0])) == (4, 8)
    assert decoder.notes == []


@pytest.mark.parametrize(
    "said",
    [
        '"usage":{"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3}}',
        '"usage":{"completion_tokens":2,"input_tokens_details":{"cached_tokens":3}}',
        '"usage":{"completion_tokens":2,"prompt_cache_hit_tokens":3}',
        '"usage":{"completion_tokens":2,"cached_tokens":3}',
        '"usage":{"completion_tokens":2,"cached_tokens":"3"}',
        '"usage":{"completion_tokens":2,"cache_read_input_tokens":3}',
        '"usage":{"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0},'
        '"cached_tokens":3}',
        '"usage":{"completion_tokens":2,"cached_tokens":0},"timings":{"cache_n":3}',
        '"usage":{"completion_tokens":2},"timings":{"cache_n":3,"prompt_n":1}',
    ],
)
def test_a_cache_hit_is_found_in_every_place_where_servers_tell_it(wire: Any, said: str) -> None:
    events = [wire.event(wire.token()), wire.event(wire.token(finish="length"))]
    decoder = decoded(
        wire.answer([*events, wire.event('{"choices":[],' + said + "}"), wire.DONE]), 2
    )
    assert decoder.tokens.cached_tokens == 3


@pytest.mark.parametrize("counts", ["{}", '{"prompt_tokens":0,"completion_tokens":0}', "null"])
def test_usage_that_counts_nothing_is_no_usage(wire: Any, counts: str) -> None:
    events = [wire.event(wire.token()), wire.event(wire.token(finish="length"))]
    answer = wire.answer([*events, wire.event(f'{{"choices":[],"usage":{counts}}}'), wire.DONE])
    assert decoded(answer, 2).notes == ["USAGE_MISSING"]
    assert getattr(decoded(answer, 3).failure, "error_class", "") == "USAGE_MISSING"


def test_an_answer_without_a_finish_reason_is_whole_where_every_token_came(wire: Any) -> None:
    events = [wire.event(wire.token()), wire.event(wire.token(finish=""))]
    answer = wire.answer([*events, wire.event(wire.usage(2)), wire.DONE])
    assert decoded(answer, 2).failure is None
    assert decoded(answer, 2).notes == ["NO_FINISH_REASON"]
    assert getattr(decoded(answer, 3).failure, "error_class", "") == "NO_FINISH_REASON"


@pytest.mark.parametrize(
    "delta",
    [
        '{"role":"assistant","content":"","type":"text","channel":"final"}',
        '{"role":"assistant","content":null,"queue":"a","tool_calls":[]}',
        '{"role":"assistant","content":[{"type":"text","text":""}]}',
        '{"role":"assistant","tool_calls":[{"id":"x","type":"function","function":{"name":""}}]}',
    ],
)
def test_what_announces_an_answer_is_no_first_token(wire: Any, delta: str) -> None:
    first = wire.event(f'{{"choices":[{{"delta":{delta}}}]}}')
    text = [wire.event('{"choices":[{"delta":{"content":"a b c d"}}]}') for _ in range(2)]
    end = wire.event('{"choices":[{"delta":{},"finish_reason":"length"}]}')
    decoder = ResponseDecoder(8)
    answer = wire.answer([first, *text, end, wire.event(wire.usage(8)), wire.DONE])
    place = answer.index(b"a b c d")
    decoder.feed([answer[:place], answer[place:]], [0.0, 5.0])
    assert decoder.failure is None
    assert decoder.tokens.times()[0].tolist() == [5.0] * 8


@pytest.mark.parametrize(
    "nothing",
    [b"event: ping\ndata: ping\n\n", b"data: null\n\n",
     b'data: {"type":"heartbeat","message":"still at work"}\n\n'],
)  # fmt: skip
def test_a_sign_of_life_is_no_part_of_an_answer(wire: Any, nothing: bytes) -> None:
    events = [nothing, wire.event(wire.token()), nothing, wire.event(wire.token(finish="length"))]
    decoder = decoded(wire.answer([*events, wire.event(wire.usage(2)), nothing, wire.DONE]), 2)
    assert decoder.failure is None


@pytest.mark.parametrize("kind", ["text/plain", "application/json", ""])
def test_an_event_stream_under_another_type_is_one(wire: Any, kind: str) -> None:
    def answer(events: list[bytes]) -> bytes:
        said: bytes = wire.answer(events)
        return said.replace(b"text/event-stream", kind.encode())

    events = [b"da", b"ta: " + wire.stream(3)[0].removeprefix(b"data: "), *wire.stream(3)[1:]]
    assert decoded(answer(events), 3).failure is None
    bare = [each.removeprefix(b"data: ") for each in wire.stream(3)]
    assert getattr(decoded(answer(bare), 3).failure, "error_class", "") == "BAD_CONTENT"


def test_the_model_that_answers_may_be_named_late(wire: Any) -> None:
    nobody = wire.event({"model": "", "choices": []})
    named = wire.event({**wire.token(finish="length"), "model": "another"})
    events = [nobody, nobody, named, wire.event(wire.usage(1)), wire.DONE]
    assert decoded(wire.answer(events), 1).answered_by == "another"


@pytest.mark.parametrize("done", [b'"[DONE]"', b"[done]", b"[DONE] "])
def test_the_end_may_be_written_in_several_ways(wire: Any, done: bytes) -> None:
    events = [wire.event(wire.token(finish="length")), wire.event(wire.usage(1))]
    decoder = decoded(wire.answer([*events, b"data: " + done + b"\n\n"]), 1)
    assert (decoder.failure, decoder.notes) == (None, [])


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
        (b'data: {"choices":[{"text":"","error":{"message":"rank 3 died"}}]}\n\n', "rank 3 died"),
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
