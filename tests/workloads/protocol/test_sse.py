from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.protocol.failure import Failure
from workloads.protocol.sse import LONGEST_EVENT, EventStream

LINE_ENDS = ("\n", "\r\n", "\r")
TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=12)


def events_of(data: bytes, cuts: list[int]) -> list[bytes]:
    stream = EventStream()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(edges)]
    return [event for piece in pieces for event in stream.feed(piece)]


@pytest.mark.slow
@given(
    st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=5),
    st.sampled_from(LINE_ENDS),
    st.sampled_from(["", ": a comment", "event: token", "id", "retry: 5"]),
    st.lists(st.integers(0, 10_000), max_size=20),
    st.booleans(),
)
def test_any_cut_of_any_stream_gives_the_same_events(
    events: list[list[str]], end: str, between: str, cuts: list[int], marked: bool
) -> None:
    lines = "\ufeff" if marked else ""
    for data_lines in events:
        lines += between + end if between else ""
        lines += "".join(f"data: {line}{end}" for line in data_lines) + end
    expected = ["\n".join(data_lines).encode() for data_lines in events]
    assert events_of(lines.encode(), cuts) == [data for data in expected if data.strip()]


def test_an_event_is_given_as_soon_as_its_blank_line_is_there() -> None:
    stream = EventStream()
    assert stream.feed(b"data: a\r") == []
    assert stream.feed(b"\n\r") == [b"a"]
    assert stream.feed(b"\n") == []
    assert not stream.pending


def test_an_event_without_its_blank_line_is_never_given() -> None:
    stream = EventStream()
    assert stream.feed(b"data: a\n") == []
    assert stream.pending


def test_only_one_space_is_taken_off_and_a_bare_field_is_empty() -> None:
    assert EventStream().feed(b"data:  a\ndata:b\ndata\n\n") == [b" a\nb\n"]


@pytest.mark.parametrize("line", [b"data: ", b"", b": "])
def test_an_endless_line_is_refused(line: bytes) -> None:
    stream = EventStream()
    stream.feed(line)
    with pytest.raises(Failure) as raised:
        list(map(stream.feed, [b"x" * 65_536] * (2 * LONGEST_EVENT // 65_536)))
    assert raised.value.error_class == "TOO_LARGE"


def test_an_endless_event_of_short_lines_is_refused() -> None:
    stream = EventStream()
    line = b"data: " + b"x" * 60_000 + b"\n"
    with pytest.raises(Failure):
        list(map(stream.feed, [line] * (2 * LONGEST_EVENT // 60_000)))
