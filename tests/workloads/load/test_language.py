"""One short text a workload: read, written canonically, refused in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue, MoeserveError, UnknownName
from workloads.load.language import listed
from workloads.load.profiles import REAL, TEXTS, parse_workload


@pytest.mark.parametrize(
    ("text", "canonical", "means", "longest"),
    [
        ("100-900:50-400:200", "100-900:50-400:200", (500, 225), 1300),
        ("512~0.50:128:auto", "512~0.5:128:auto", (512, 128), 1972 + 128),
        ("512:128:20,prefix=2000x8", "512:128:20,prefix=2000x8", (2512, 128), 2640),
        ("10:4:8,turns=3,think=2~1", "10:4:8,turns=3,think=2~1", (24, 4), 42),
        ("balanced,natural", "balanced,natural", (1024, 512), 1536),
        ("a=100:10:5+b=200:20:15", "a=100:10@5+b=200:20@15,prompts=20", (175, 18), 220),
        ("chat@0.7+rag@0.3,prompts=50", "chat@0.7+rag@0.3,prompts=50", (3628, 352), 10080),
        ("5:6@1+7:8@0.00001", "5:6@1+7:8@0.00001", (5, 6), 15),
        (
            "5:6:7,turns=02,think=2.50-03,prefix=08x02",
            "5:6:7,prefix=8x2,turns=2,think=2.5-3",
            (18, 6),
            30,
        ),
        ("9~0.00002:6:5", "9~0.00002:6:5", (9, 6), 16),
    ],
)
def test_a_workload_has_one_canonical_text_and_means_and_a_longest(
    text: str, canonical: str, means: tuple[int, int], longest: int
) -> None:
    workload = parse_workload(text)
    assert workload.name == canonical
    assert (workload.input_len, workload.output_len) == means
    assert workload.longest_tokens == longest
    assert parse_workload(canonical) == workload


PARTS = st.sampled_from(["1-9:3", "40~0.25:6", "chat", "decode-heavy", "7:2-5"])
OPTIONS = st.lists(
    st.sampled_from(["natural", "prefix=64x3", "turns=2", "turns=2,think=0.5"]),
    max_size=2,
    unique_by=lambda option: option.split("=")[0],
)


@given(st.lists(st.tuples(PARTS, OPTIONS, st.integers(1, 9)), min_size=2, max_size=4))
def test_a_canonical_text_reads_back_as_the_same_workload(
    parts: list[tuple[str, list[str], int]],
) -> None:
    text = "+".join(
        f"p{number}={','.join([source, *options])}@{weight}"
        for number, (source, options, weight) in enumerate(parts)
    )
    workload = parse_workload(text)
    assert parse_workload(workload.name) == workload


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_read_or_refused_with_a_message(text: str) -> None:
    if not text.startswith(("file:", "trace:", "lengths:")):
        try:
            parse_workload(text)
        except MoeserveError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("900-100:5:5", "whole numbers of at least 1"),
        ("5~0:5:5", "lognormal"),
        ("5~11:5:5", "lognormal"),
        ("5.5:5:5,natural", "whole numbers"),
        ("10000000~1:5:5", "at most 10,000,000"),
        ("5:5:5,prefix=0x2", "eight prefixes"),
        ("5:5:5,turns=0", "turns=a whole number"),
        ("5:5:5,think=1", "think= with turns="),
        ("5:5:5,think=1,turns=1", "turns= of two or more"),
        ("5:5:5,turns=2,think=-1", "seconds as"),
        ("5:5:5,natural=yes", "natural"),
        ("5:5:5,turns=2,turns=3", "turns once"),
        ("5:5:5,speed=2", "not speed"),
        ("5:5@0+6:6@1", "one weight above 0"),
        ("5:5@1+chat@1e-9", "one weight above 0.*six decimals"),
        ("5:5@1+6:6,turns=2@-1", "one weight above 0"),
        ("5:5:3+5:5:4", "a label of its own"),
        ("5:5,prompts=3+6:6,prompts=4", "prompts= once"),
        ("5:5,turns=2", "INPUT:OUTPUT:PROMPTS"),
        ("5:5:5:5,natural", "INPUT:OUTPUT:PROMPTS"),
        ("file:", "file:PATH"),
    ],
)
def test_what_is_no_workload_is_refused_with_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises(BadValue, match=told):
        parse_workload(text)


def test_a_slip_in_a_mix_is_met_with_the_name_that_was_meant() -> None:
    with pytest.raises(UnknownName, match="Did you mean summarisation"):
        parse_workload("chat@0.5+summarization@0.5")


def test_a_list_is_divided_at_commas_but_for_those_before_an_option() -> None:
    assert listed("balanced, 1-2:3:4,turns=2,think=1,chat@1+rag@2,prompts=9") == [
        "balanced",
        "1-2:3:4,turns=2,think=1",
        "chat@1+rag@2,prompts=9",
    ]


def test_every_profile_stands_for_a_text_of_the_language_and_keeps_its_name() -> None:
    for name in REAL:
        workload, meant = parse_workload(name), parse_workload(TEXTS[name])
        assert workload.name == name
        assert workload.longest_tokens == meant.longest_tokens
        assert (workload.input_len, workload.output_len) == (meant.input_len, meant.output_len)
        assert workload.prompts_for(32) == 160


def test_an_option_that_is_none_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownName, match="Did you mean turns"):
        listed("5:5:5,turn=4")
    assert listed("a=5:5:5,b=chat,c=7:7:7") == ["a=5:5:5", "b=chat", "c=7:7:7"]
