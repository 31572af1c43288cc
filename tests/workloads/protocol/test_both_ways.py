"""Frames that are whole events are taken a quick way; what is counted is the same on both."""

from typing import Any

import pytest

from workloads.protocol.decode import ResponseDecoder
from workloads.protocol.exchange import Exchange
from workloads.protocol.failure import Failure
from workloads.protocol.http1 import ResponseBody


def quick(wire: Any, tokens: int) -> list[bytes]:
    """The head, then reads of one whole chunk each."""
    return [wire.HEAD, *map(wire.chunk, wire.stream(tokens)), wire.LAST]


def halved(reads: list[bytes]) -> list[bytes]:
    """The same, but each read ends in the middle of a chunk."""
    return [half for read in reads for half in (read[: len(read) // 2], read[len(read) // 2 :])]


def fed(reads: list[bytes], asked: int) -> ResponseDecoder:
    decoder = ResponseDecoder(asked)
    decoder.feed(reads, [float(place) for place in range(len(reads))])
    return decoder


def test_events_reads_and_bytes_are_counted_on_both_ways(wire: Any) -> None:
    reads = quick(wire, 6)
    for ways in (reads, halved(reads)):
        decoder = fed(ways, 6)
        assert decoder.failure is None
        assert (decoder.reads, decoder.bytes) == (len(ways), len(b"".join(reads)))
        # Six tokens, usage, [DONE].
        assert (decoder.events, decoder.coalesced_reads) == (8, 0)
        assert decoder.tokens.times()[1] == 0
    assert fed(reads, 6).tokens.times()[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert fed(halved(reads), 6).tokens.times()[0].tolist() == [3, 5, 7, 9, 11, 13]


def test_reads_of_several_events_are_counted_as_such_on_both_ways(wire: Any) -> None:
    head, *chunks = quick(wire, 6)
    pairs = [b"".join(chunks[at : at + 2]) for at in range(0, 8, 2)]
    decoder = fed([head, *pairs, wire.LAST], 6)
    assert (decoder.events, decoder.coalesced_reads) == (8, 4)
    # The plain way: the second event is cut, and ends with the next read.
    slow = [pairs[0][:-5], pairs[0][-5:] + pairs[1], pairs[2], pairs[3], wire.LAST]
    decoder = fed([head, *slow], 6)
    assert (decoder.events, decoder.coalesced_reads) == (8, 3)


def test_whole_frames_never_meet_the_parser_of_bodies(
    wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    feed = ResponseBody.feed

    def spy(body: ResponseBody, data: bytes) -> list[bytes]:
        parsed.append(bytes(data))
        return feed(body, data)

    monkeypatch.setattr(ResponseBody, "feed", spy)
    head, *chunks = quick(wire, 20)
    assert fed([head, *chunks], 20).failure is None
    # [DONE] is no JSON object, and with it ends the quick way.
    assert parsed == [head, chunks[-2], wire.LAST]
    parsed.clear()
    assert fed([head, b"".join(chunks)], 20).failure is None
    assert parsed == [head, chunks[-2] + wire.LAST], "the same of one read"


def test_a_frame_whose_size_lies_is_left_to_the_parser(wire: Any) -> None:
    head, first, *rest = quick(wire, 3)
    lying = first.replace(b"\r\n", b"0\r\n", 1)
    decoder = fed([head, first, lying, *rest], 3)
    assert not decoder.complete, "it waits for the rest of the chunk"
    decoder.end()
    assert decoder.failure is not None
    assert decoder.failure.error_class == "STREAM_TRUNCATED"


def test_events_after_done_are_seen_and_not_counted_on_both_ways(wire: Any) -> None:
    more = wire.chunk(wire.event(wire.token()))
    for after in ([more], halved([more])):
        head, *chunks, last = quick(wire, 3)
        decoder = fed([head, *chunks, *after, last], 3)
        assert decoder.failure is None
        assert decoder.events == 6
        assert len(decoder.tokens.times()[0]) == 3


@pytest.mark.parametrize("split", [False, True])
def test_more_than_twice_the_events_of_twice_the_tokens_and_sixteen_are_too_many(
    wire: Any, split: bool
) -> None:
    # Asked for 3: at most 2·3 + 16 = 22 tokens, and 44 events.
    empty = wire.chunk(wire.event({"choices": []}))
    reads = [wire.HEAD, *(halved([empty] * 44) if split else [empty] * 44)]
    decoder = fed(reads, 3)
    assert decoder.failure is None
    assert decoder.events == 44
    decoder.feed([empty], [99.0])
    assert decoder.failure is not None
    assert decoder.failure.error_class == "TOO_LARGE"
    assert "3 tokens asked for" in decoder.failure.detail


def test_bytes_beyond_any_answer_are_refused_and_not_kept(wire: Any) -> None:
    # Asked for 3: 22 tokens and 16 to spare, of 65,536 bytes each.
    most = 38 * 65_536
    comment = wire.chunk(b":" + b" " * (1 << 16) + b"\n")
    reads = [wire.HEAD] + [comment] * ((most - len(wire.HEAD)) // len(comment))
    decoder = fed(reads, 3)
    assert decoder.failure is None
    decoder.feed([comment], [9.0])
    assert decoder.failure is not None
    assert decoder.failure.error_class == "TOO_LARGE"


def test_an_event_may_be_a_mebibyte_and_no_more(wire: Any) -> None:
    for size, refused in (((1 << 20) - 8, False), ((1 << 20) + 1, True)):
        decoder = fed([wire.HEAD, b"%x\r\ndata:" % (size + 5) + b"x" * size], 100)
        assert (decoder.failure is not None) == refused


def test_a_head_may_have_64_kibibytes_and_a_chunk_s_size_one() -> None:
    name = b"HTTP/1.1 200 OK\r\nX: "
    body = ResponseBody()
    assert body.feed(name + b"x" * (65_536 - len(name))) == []
    with pytest.raises(Failure, match="TOO_LARGE"):
        ResponseBody().feed(name + b"x" * (65_537 - len(name)))
    sized = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    assert ResponseBody().feed(sized + b"x" * (1_024 - 2)) == []
    with pytest.raises(Failure, match="BAD_HTTP"):
        ResponseBody().feed(sized + b"x" * (1_025 - 2))


def test_of_a_refusal_the_first_16_kibibytes_are_kept(wire: Any) -> None:
    decoder = fed([wire.plain("404 No", b"y" * (16_384 + 100))], 3)
    assert len(decoder._error_body) == 16_384


@pytest.mark.parametrize("length", [0, 1])
def test_a_connection_that_ends_before_a_byte_was_lost_and_after_one_truncated(length: int) -> None:
    decoder = ResponseDecoder(3)
    decoder.feed([b"HTTP/1.1 200"[:length]], [0.0])
    assert decoder.body.started == bool(length)
    assert decoder.body.status == 0
    decoder.end()
    assert decoder.failure is not None
    assert decoder.failure.error_class == ("STREAM_TRUNCATED" if length else "CONNECTION_LOST")


def test_an_exchange_s_row_has_each_of_its_figures_from_its_place(wire: Any) -> None:
    exchange = Exchange(request=7, due_s=0.5, requested_tokens=4)
    exchange.sent, exchange.done, exchange.attempts = 11.0, 15.0, 2
    head, *chunks, last = quick(wire, 4)
    reads = [head, chunks[0], chunks[1] + chunks[2], chunks[3], b"".join(chunks[4:]), last]
    for read, stamp in zip(reads, (11.5, 12.0, 13.0, 14.0, 14.5, 15.0), strict=True):
        exchange.take(read, stamp)
    exchange.end()
    assert exchange.last_read_at == 15.0
    row = exchange.row(start=10.0, input_tokens=9)
    assert (row.request, row.due_s, row.sent_s, row.done_s) == (7, 0.5, 1.0, 5.0)
    assert row.token_times_s.tolist() == [2.0, 3.0, 3.0, 4.0]
    assert row.first_token_s == 2.0
    assert (row.input_tokens, row.server_input_tokens, row.output_tokens) == (9, 4, 4)
    assert (row.status, row.error_class, row.error, row.finish_reason) == ("ok", "", "", "length")
    assert (row.reads, row.events, row.coalesced_reads, row.multi_token_events) == (6, 6, 2, 0)
    assert row.reconnects == 2
    assert exchange.row(start=10.0, input_tokens=None).input_tokens == 4


def test_an_exchange_that_was_never_sent_has_no_times() -> None:
    exchange = Exchange(request=1, due_s=0.5, requested_tokens=4)
    exchange.fail("INTERRUPTED", "stopped")
    exchange.end()
    row = exchange.row(start=10.0, input_tokens=9)
    assert (row.sent_s, row.first_token_s, row.done_s) == (None, None, None)
    assert (row.status, row.error_class, row.error) == ("interrupted", "INTERRUPTED", "stopped")
