"""Whole answers: any cut gives the same tokens, anything else gives a class."""

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.protocol.decode import ResponseDecoder

CLASSES = {
    "CONNECTION_LOST", "HTTP_3XX", "HTTP_4XX", "HTTP_5XX", "BAD_HTTP", "BAD_CONTENT", "BAD_JSON",
    "STREAM_ERROR", "STREAM_TRUNCATED", "NO_FINISH_REASON", "NO_DONE", "USAGE_MISSING",
    "ZERO_TOKENS", "TOKEN_COUNT_MISMATCH", "TOO_LARGE",
}  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)


def decoded(data: bytes, cuts: list[int], asked: int) -> ResponseDecoder:
    """Decode an answer cut at `cuts`; the stamp of a read is where it ends."""
    decoder = ResponseDecoder(asked)
    edges = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    for begin, end in pairwise(edges):
        decoder.feed([data[begin:end]], [float(end)])
    if not decoder.complete:
        decoder.end()
    return decoder


def failure_of(data: bytes, asked: int = 3) -> str:
    failure = decoded(data, [], asked).failure
    return "" if failure is None else failure.error_class


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[tuple[str, int]], bytes, str]:
    """Tokens of each event, the answer's bytes between head and end, and the line end used."""
    import json

    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    chat = draw(st.booleans())
    shapes = draw(st.lists(st.tuples(TEXTS, st.integers(1, 3)), min_size=1, max_size=8))
    events = []
    for index, (text, tokens) in enumerate(shapes):
        finish = "length" if index == len(shapes) - 1 else None
        content = {"delta": {"content": text}} if chat else {"text": text}
        choice = {"index": 0, **content, "finish_reason": finish, "token_ids": [7] * tokens}
        events.append(json.dumps({"choices": [choice]}, ensure_ascii=draw(st.booleans())))
    total = sum(tokens for _, tokens in shapes)
    events.append(json.dumps({"choices": [], "usage": {"completion_tokens": total}}))
    events.append("[DONE]")
    return shapes, "\n\n".join(events).encode(), end


def encoded(body: bytes, end: str, sizes: list[int], wire: Any) -> bytes:
    """Put events into chunks of the given sizes."""
    events = body.decode().split("\n\n")
    plain = "".join(f"data: {one}{end}{end}" for one in events).encode()
    chunks, at = [], 0
    for size in sizes:
        if at < len(plain):
            chunks.append(wire.chunk(plain[at : at + size]))
            at += size
    if at < len(plain):
        chunks.append(wire.chunk(plain[at:]))
    return wire.HEAD + b"".join(chunks) + wire.LAST


@pytest.mark.slow
@given(
    answers(),
    st.lists(st.integers(1, 200), max_size=8),
    st.lists(st.integers(0, 10**6), max_size=30),
)
def test_any_cut_of_any_valid_answer_gives_the_same_tokens(
    wire: Any, answer: tuple[Any, bytes, str], sizes: list[int], cuts: list[int]
) -> None:
    shapes, body, end = answer
    total = sum(tokens for _, tokens in shapes)
    data = encoded(body, end, sizes, wire)
    whole, cut = decoded(data, [], total), decoded(data, cuts, total)
    for decoder in (whole, cut):
        assert decoder.failure is None
        assert decoder.tokens.resolved().tolist() == [tokens for _, tokens in shapes]
        assert decoder.tokens.finish_reason == "length"
    assert (np.diff(cut.tokens.times()[0]) >= 0).all()


def test_an_answer_cut_at_every_byte_gives_the_same_tokens_at_the_right_reads(wire: Any) -> None:
    events = wire.stream(5)
    data = wire.answer(events)
    decoder = decoded(data, list(range(len(data))), 5)
    ends, at = [], len(wire.HEAD)
    for one in events[:5]:
        at += len(wire.chunk(one))
        ends.append(float(at - 2))
    assert decoder.failure is None
    # An event is there with its blank line, before the end of the chunk that carries it.
    assert decoder.tokens.times()[0].tolist() == ends


def test_an_answer_cut_in_two_anywhere_gives_the_same_tokens(wire: Any) -> None:
    data = wire.answer(wire.stream(4))
    for cut in range(len(data)):
        decoder = decoded(data, [cut], 4)
        assert decoder.failure is None
        assert len(decoder.tokens.times()[0]) == 4


def test_one_read_of_many_events_is_many_tokens_and_one_coalesced_read(wire: Any) -> None:
    decoder = decoded(wire.answer(wire.stream(50)), [], 50)
    assert len(decoder.tokens.times()[0]) == 50
    assert (decoder.reads, decoder.coalesced_reads, decoder.events) == (1, 1, 52)


def test_a_letter_cut_in_two_is_no_error(wire: Any) -> None:
    body = '{"choices":[{"text":"ö€🎈","finish_reason":"stop"}]}'.encode()
    data = wire.answer([b"data: " + body + b"\n\n", wire.event(wire.usage(1)), wire.DONE])
    assert all(decoded(data, [cut], 3).failure is None for cut in range(len(data)))


def test_every_kind_of_bad_stream_has_its_class(wire: Any) -> None:
    good, done, use = wire.event(wire.token(finish="stop")), wire.DONE, wire.event(wire.usage(1))
    cases = {
        "": [good, use, done],
        "NO_DONE": [good, use],
        "STREAM_TRUNCATED": [wire.event(wire.token())],
        "NO_FINISH_REASON": [wire.event(wire.token()), use, done],
        "USAGE_MISSING": [good, done],
        "ZERO_TOKENS": [wire.event(wire.token("", finish="stop")), wire.event(wire.usage(0)), done],
        "TOKEN_COUNT_MISMATCH": [good, wire.event(wire.usage(4)), done],
        "STREAM_ERROR": [good, wire.event({"error": {"message": "engine dead", "code": 500}})],
        "BAD_JSON": [wire.event('{"choices": [}'), use, done],
    }
    assert {name: failure_of(wire.answer(events)) for name, events in cases.items()} == {
        name: name for name in cases
    }


def test_an_error_object_of_older_servers_is_seen_too(wire: Any) -> None:
    old = wire.event({"object": "error", "message": "out of memory", "code": 500})
    decoder = decoded(wire.answer([old, wire.DONE]), [], 3)
    assert decoder.failure is not None
    assert decoder.failure.error_class == "STREAM_ERROR"
    assert "out of memory" in decoder.failure.detail


def test_what_follows_done_is_not_counted(wire: Any) -> None:
    events = [*wire.stream(3), wire.event(wire.token())]
    assert failure_of(wire.answer(events)) == ""


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        ("301 Moved", "HTTP_3XX"),
        ("404 Not Found", "HTTP_4XX"),
        ("429 Too Many Requests", "HTTP_4XX"),
        ("503 Unavailable", "HTTP_5XX"),
        ("200 OK", "BAD_CONTENT"),
        ("204 No Content", "BAD_CONTENT"),
    ],
)
def test_answers_that_are_no_streams_have_a_class_and_say_what_was_said(
    wire: Any, status: str, error_class: str
) -> None:
    decoder = decoded(
        wire.plain(status, b"\x1b[31mthe model `x` is not here", "location: /v2"), [], 3
    )
    assert decoder.failure is not None
    assert decoder.failure.error_class == error_class
    assert "\x1b" not in decoder.failure.detail
    if error_class == "HTTP_4XX":
        assert "not here" in decoder.failure.detail


def test_far_more_tokens_than_asked_for_are_refused(wire: Any) -> None:
    events = [wire.event(wire.token())] * 200
    assert failure_of(wire.HEAD + b"".join(map(wire.chunk, events))) == "TOO_LARGE"


def mutated(data: bytes, rng: random.Random) -> bytes:
    edited = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(edited))
        kind = rng.randrange(4)
        if kind == 0:
            edited[at] = rng.randrange(256)
        elif kind == 1:
            del edited[at : at + rng.randint(1, 30)]
        elif kind == 2:
            edited[at:at] = edited[at : at + rng.randint(1, 30)]
        else:
            edited[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 5)))
        if not edited:
            return b""
    return bytes(edited)


def check_mutated(wire: Any, count: int, seed: int) -> None:
    rng = random.Random(seed)
    answers_of = [wire.answer(wire.stream(size)) for size in (1, 3, 6)]
    for _ in range(count):
        index = rng.randrange(3)
        data = mutated(answers_of[index], rng)
        cuts = [rng.randrange(10**6) for _ in range(rng.randrange(6))]
        decoder = decoded(data, cuts, (1, 3, 6)[index])
        assert decoder.complete
        assert decoder.failure is None or decoder.failure.error_class in CLASSES
        assert (np.diff(decoder.tokens.times()[0]) >= 0).all()


@pytest.mark.slow
def test_a_damaged_answer_gives_a_class_and_never_a_crash(wire: Any) -> None:
    check_mutated(wire, 3_000, seed=1)


@pytest.mark.slow
def test_a_hundred_thousand_damaged_answers_give_a_class_each(wire: Any) -> None:
    check_mutated(wire, 100_000, seed=2)


@pytest.mark.slow
def test_no_token_of_a_million_is_lost_or_counted_twice_however_the_bytes_are_cut(
    wire: Any,
) -> None:
    rng = random.Random(3)
    data = wire.answer(wire.stream(1_000))
    for _ in range(1_000):
        longest = rng.choices((3, 50, 1_000, 70_000), weights=(1, 9, 45, 45))[0]
        cuts, at = [], 0
        while at < len(data):
            at += rng.randint(1, longest)
            cuts.append(min(at, len(data)))
        decoder = decoded(data, cuts, 1_000)
        assert decoder.failure is None
        assert len(decoder.tokens.times()[0]) == 1_000
