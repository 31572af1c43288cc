"""Layout names, parsing and knobs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue, UnknownName
from strategies import ALL, STANDARD, Layout, parse_layout, parse_layouts

degrees = st.sampled_from([1, 2, 3, 4, 8])
layouts = st.builds(Layout, tp=degrees, pp=degrees, dp=degrees, ep=st.booleans())


@given(layouts)
def test_every_layout_parses_back_from_its_own_name(layout: Layout) -> None:
    assert parse_layout(layout.name) == layout


@given(layouts)
def test_expert_ranks_and_slices_multiply_to_the_ranks_of_a_stage(layout: Layout) -> None:
    assert layout.ep_degree * layout.expert_slices == layout.tp * layout.dp
    assert layout.num_gpus == layout.tp * layout.dp * layout.pp


def test_the_four_layouts_of_the_study_are_exactly_those_of_its_table_2() -> None:
    assert STANDARD == {
        "single": Layout(tp=1),
        "tp": Layout(tp=2),
        "ep": Layout(dp=2, ep=True),
        "tp+ep": Layout(tp=2, dp=2, ep=True),
    }
    assert [STANDARD[name].num_gpus for name in ALL] == [1, 2, 2, 4]


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("tp4", Layout(tp=4)),
        ("dp8+ep", Layout(dp=8, ep=True)),
        ("tp2+dp4+ep", Layout(tp=2, dp=4, ep=True)),
        ("ep+dp4+tp2", Layout(tp=2, dp=4, ep=True)),
        ("tp4+ep", Layout(tp=4, ep=True)),
        ("pp2+tp4", Layout(pp=2, tp=4)),
        ("hybrid", Layout(tp=2, dp=2, ep=True)),
        (" TP ", Layout(tp=2)),
    ],
)
def test_explicit_degrees_and_aliases_are_understood(text: str, layout: Layout) -> None:
    assert parse_layout(text) == layout


@pytest.mark.parametrize(
    ("text", "gpus", "name"),
    [("tp", 8, "tp8"), ("ep", 4, "dp4+ep"), ("tp+ep", 8, "tp2+dp4+ep"), ("single", 8, "single")],
)
def test_gpus_set_the_degree_of_the_names_that_leave_it_open(
    text: str, gpus: int, name: str
) -> None:
    assert parse_layout(text, gpus=gpus).name == name


def test_lists_and_all_expand_without_repeats_and_keep_knobs_together() -> None:
    parsed = parse_layouts(["tp,ep", "all", "dp8+ep[all2all=deepep_low_latency,eplb=32]"])
    assert [layout.name for layout in parsed] == [
        "tp",
        "ep",
        "single",
        "tp+ep",
        "dp8+ep[all2all=deepep_low_latency,eplb=32]",
    ]


def test_a_slip_gets_the_name_that_was_meant() -> None:
    with pytest.raises(UnknownName, match="Did you mean hybrid"):
        parse_layout("hybird")


@pytest.mark.parametrize(
    "text", ["", "tp0", "tp-1", "tp2+tp4", "xp2", "tp2[", "tp2]", "tp99999", "ep+ep", "tp2+", "2"]
)
def test_what_is_no_layout_is_refused(text: str) -> None:
    with pytest.raises((BadValue, UnknownName)):
        parse_layout(text)


@pytest.mark.parametrize(
    "text",
    [
        "dp8+ep[eplb=-1]",
        "dp8+ep[eplb=x]",
        "dp8+ep[eplb]",
        "dp8+ep[all2all=magic]",
        "dp8+ep[nope=1]",
        "tp4[eplb=2]",
        "tp4[dcp=3]",
        "dp8+ep[eplb=1,eplb=2]",
    ],
)
def test_knobs_are_checked_by_name_value_and_layout(text: str) -> None:
    with pytest.raises((BadValue, UnknownName)):
        parse_layout(text)


@pytest.mark.parametrize(("name", "gpus"), [("tp", 1), ("tp+ep", 2), ("tp+ep", 5), ("ep", 1)])
def test_too_few_gpus_for_a_name_are_refused_with_the_number(name: str, gpus: int) -> None:
    with pytest.raises(BadValue, match=str(gpus)):
        parse_layout(name, gpus=gpus)
