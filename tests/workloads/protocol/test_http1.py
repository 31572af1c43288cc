from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.protocol.failure import Failure
from workloads.protocol.http1 import ResponseBody

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def body_of(data: bytes, cuts: list[int]) -> tuple[bytes, ResponseBody]:
    response = ResponseBody()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    read = b""
    for begin, end in pairwise(edges):
        read += b"".join(response.feed(data[begin:end]))
    return read, response


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.sampled_from([b"", b";name=value", b" ; a"]),
    st.sampled_from([b"", b"X-Trailer: 1\r\n", b"A: b\r\nC: d\r\n"]),
    st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]),
)
def test_any_cut_of_a_chunked_body_gives_the_same_bytes(
    pieces: list[bytes], cuts: list[int], extension: bytes, trailer: bytes, interim: bytes
) -> None:
    chunks = b"".join(b"%X%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    read, response = body_of(interim + HEAD + chunks + b"0\r\n" + trailer + b"\r\n", cuts)
    assert read == b"".join(pieces)
    assert response.complete
    assert response.status == 200


@given(st.binary(max_size=50), st.lists(st.integers(0, 500), max_size=8))
def test_a_body_of_known_length_ends_with_its_last_byte(body: bytes, cuts: list[int]) -> None:
    read, response = body_of(
        b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), cuts
    )
    assert read == body
    assert response.complete


def test_a_body_without_length_ends_with_the_connection() -> None:
    response = ResponseBody()
    assert response.feed(b"HTTP/1.0 200 OK\r\n\r\nabc") == [b"abc"]
    assert not response.complete
    response.eof()
    assert response.complete


@pytest.mark.parametrize("cut", range(len(HEAD) + 8))
def test_a_connection_that_ends_early_is_a_truncation_wherever_it_ends(cut: int) -> None:
    response = ResponseBody()
    response.feed((HEAD + b"3\r\nabc\r\n0\r\n\r\n")[:cut])
    with pytest.raises(Failure) as raised:
        response.eof()
    assert raised.value.error_class == "STREAM_TRUNCATED"


@pytest.mark.parametrize(
    ("data", "error_class"),
    [
        (b"<html>\r\n\r\n", "BAD_HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n", "BAD_HTTP"),
        (HEAD + b"xyz\r\n", "BAD_HTTP"),
        (HEAD + b"-3\r\nabc", "BAD_HTTP"),
        (HEAD + b"3\r\nabcd\r\n", "BAD_HTTP"),
        (HEAD + b"0\r\n\r\nmore", "BAD_HTTP"),
        (HEAD + b"1" * 2000, "BAD_HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "BAD_HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "BAD_HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", "BAD_CONTENT"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "TOO_LARGE"),
    ],
)
def test_what_is_not_http_is_refused_with_a_class(data: bytes, error_class: str) -> None:
    with pytest.raises(Failure) as raised:
        ResponseBody().feed(data)
    assert raised.value.error_class == error_class
