"""Each knob's levels, its words for vLLM, and each degree at its edge."""

import pytest

from catalog.errors import BadValue, Infeasible, UnknownName
from strategies.knobs import ALL_TO_ALL, KNOBS, priced_knobs, refuse_unpriced
from strategies.layout import MOST_GPUS, Layout
from strategies.parse import parse_layout, parse_layouts
from strategies.placement import place

WORDS = {
    "dp2+ep[all2all=nixl_ep]": ["--all2all-backend", "nixl_ep"],
    "dp2+ep[eplb=32]": ["--enable-eplb", "--eplb-config", '{"num_redundant_experts":32}'],
    "dp2+ep[placement=round_robin]": ["--expert-placement-strategy", "round_robin"],
    "dp2+ep[dbo=on]": ["--enable-dbo"],
    "tp4[dcp=2]": ["--decode-context-parallel-size", "2"],
}


@pytest.mark.parametrize("text", WORDS)
def test_a_knob_is_read_and_becomes_vllm_s_own_words(text: str) -> None:
    ((name, value),) = parse_layout(text).knobs
    assert KNOBS[name].vllm_args(value) == WORDS[text]


@pytest.mark.parametrize(
    "text",
    ["tp4[dcp=1]", "tp4[dcp=2]", "tp4[dcp=4]", "dp2+ep[eplb=0]", "dp2+ep[eplb=4096]",
     *(f"dp2+ep[all2all={name}]" for name in ALL_TO_ALL)],
)  # fmt: skip
def test_levels_within_their_bounds_are_taken(text: str) -> None:
    assert parse_layout(text).knobs


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tp4[dcp=0]", "a count from 1"),
        ("tp4[dcp=3]", "a divisor of tp = 4"),
        ("tp4[dcp=8]", "a divisor of tp = 4"),
        ("tp4[dcp=-1]", "a count from 1"),
        ("dp2+ep[eplb=4097]", "a count from 0"),
        ("dp2+ep[eplb=²]", "a count from 0"),
        ("dp2+ep[dbo=off]", "on"),
        ("dp2+ep[placement=random]", "linear, round_robin"),
        ("dp2+ep[all2all=deepep]", "allgather_reducescatter, deepep_high_throughput"),
        ("tp4[eplb=1]", r"a layout with \+ep"),
        ("tp4[dcp=2,dcp=2]", "each knob once"),
        ("tp4[dcp=]", "name=value"),
    ],
)
def test_levels_beyond_them_are_refused_with_what_is_allowed(text: str, why: str) -> None:
    with pytest.raises(BadValue, match=why):
        parse_layout(text)


def test_an_unknown_knob_is_met_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownName, match="Did you mean eplb"):
        parse_layout("dp2+ep[epbl=1]")


@pytest.mark.parametrize(
    ("text", "priced"),
    [
        ("dp2+ep[all2all=allgather_reducescatter]", True),
        ("dp2+ep[all2all=deepep_low_latency]", True),
        ("dp2+ep[all2all=deepep_v2]", False),
        ("dp2+ep[eplb=0]", False),
        ("dp2+ep[placement=linear]", True),
        ("dp2+ep[placement=round_robin]", False),
        ("dp2+ep[dbo=on]", False),
        ("tp4[dcp=2]", True),
    ],
)
def test_the_simulated_engine_takes_what_the_model_has_a_price_for(
    text: str, *, priced: bool
) -> None:
    if priced:
        refuse_unpriced(parse_layout(text))
    else:
        with pytest.raises(BadValue, match="the model has no price for"):
            refuse_unpriced(parse_layout(text))
    assert priced_knobs() == (
        "all2all (allgather_reducescatter, deepep_low_latency); placement (linear); "
        "dcp (every degree)"
    )


@pytest.mark.parametrize(
    ("layout", "gpus", "ep_degree", "slices", "name"),
    [
        (Layout(), 1, 1, 1, "single"),
        (Layout(tp=2), 2, 1, 2, "tp"),
        (Layout(dp=2, ep=True), 2, 2, 1, "ep"),
        (Layout(tp=2, dp=2, ep=True), 4, 4, 1, "tp+ep"),
        (Layout(tp=2, dp=3), 6, 1, 6, "tp2+dp3"),
        (Layout(tp=4, pp=2), 8, 1, 4, "pp2+tp4"),
        (Layout(tp=4, pp=2, dp=2, ep=True), 16, 8, 1, "pp2+tp4+dp2+ep"),
        (Layout(ep=True), 1, 1, 1, "tp1+ep"),
        (Layout(tp=2, knobs=(("dcp", "2"),)), 2, 1, 2, "tp[dcp=2]"),
    ],
)
def test_degrees_and_names_by_hand(
    layout: Layout, gpus: int, ep_degree: int, slices: int, name: str
) -> None:
    assert (layout.num_gpus, layout.ep_degree, layout.expert_slices) == (gpus, ep_degree, slices)
    assert layout.name == name
    assert parse_layout(name) == layout


@pytest.mark.parametrize(("name", "gpus", "degrees"), [
    ("tp", 8, (8, 1)), ("ep", 8, (1, 8)), ("tp+ep", 8, (2, 4)), ("tp+ep", 4, (2, 2)),
    ("tp", 2, (2, 1)), ("single", 8, (1, 1)), ("tp4", 8, (4, 1)),
])  # fmt: skip
def test_names_without_degrees_take_all_gpus(
    name: str, gpus: int, degrees: tuple[int, int]
) -> None:
    layout = parse_layout(name, gpus=gpus)
    assert (layout.tp, layout.dp) == degrees


@pytest.mark.parametrize(("name", "gpus"), [("tp", 1), ("ep", 1), ("tp+ep", 2), ("tp+ep", 5)])
def test_too_few_gpus_for_a_name_are_refused(name: str, gpus: int) -> None:
    with pytest.raises(BadValue, match="--gpus for"):
        parse_layout(name, gpus=gpus)


def test_a_layout_has_4096_gpus_at_most() -> None:
    assert Layout(tp=MOST_GPUS).num_gpus == Layout(tp=64, dp=64).num_gpus == 4096
    for wrong in ({"tp": 4097}, {"tp": 64, "dp": 65}, {"pp": 0}):
        with pytest.raises(BadValue, match="1 to 4096"):
            Layout(**wrong)


def test_lists_of_names_keep_their_order_and_knobs_their_commas() -> None:
    found = parse_layouts(["tp4, dp2+ep[eplb=1,dbo=on]", "tp4", "hybrid"])
    assert [layout.name for layout in found] == ["tp4", "ep[dbo=on,eplb=1]", "tp+ep"]
    every = [layout.name for layout in parse_layouts(["ALL"])]
    assert every == ["single", "tp", "ep", "tp+ep"]


@pytest.mark.parametrize(("text", "per_node", "nodes"), [
    ("tp8", 8, (8,)), ("tp4+dp4+ep", 8, (8, 8)), ("tp4+dp3+ep", 8, (8, 4)),
    # Two groups of three fit a node of eight, which leaves two of its GPUs free.
    ("tp3+dp4", 8, (6, 6)), ("tp3+dp3", 8, (6, 3)), ("dp10+ep", 4, (4, 4, 2)),
    ("pp2+tp4", 4, (4, 4)),
])  # fmt: skip
def test_whole_tensor_parallel_groups_are_packed_onto_nodes(
    text: str, per_node: int, nodes: tuple[int, ...]
) -> None:
    assert place(parse_layout(text), gpus_per_node=per_node) == nodes


def test_a_group_larger_than_a_node_is_split_only_when_allowed() -> None:
    with pytest.raises(Infeasible, match="tp = 16 needs 16 GPUs on one node, a node has 8"):
        place(parse_layout("tp16"), gpus_per_node=8)
    assert place(parse_layout("tp16"), gpus_per_node=8, allow_split=True) == (8, 8)
    assert place(parse_layout("tp12"), gpus_per_node=8, allow_split=True) == (8, 4)
