"""What of a layout is priced: a knob that is let in changes a number, any other is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from catalog.hardware_table import gpu
from catalog.model_table import MODELS
from perfmodel.constants import ROOFLINE
from perfmodel.exchange import Fabric, direct_price
from perfmodel.load import DUMMY, StepLoad, decode_load, prefill_load
from perfmodel.memory import memory
from perfmodel.priced import check_priced
from perfmodel.step import StepModel
from strategies import Layout, parse_layout
from strategies.knobs import ALL_TO_ALL, DIRECT, GATHER_SCATTER, KNOBS, PLACEMENTS

MOE = sorted(name for name, model in MODELS.items() if model.experts)
H200 = gpu("H200")


def exchange_s(name: str, layout: Layout, tokens: float) -> float:
    return Fabric(MODELS[name], layout, H200, ROOFLINE).exchange(tokens).expert_s


@given(
    name=st.sampled_from(MOE),
    tp=st.sampled_from((1, 2, 4)),
    dp=st.sampled_from((1, 2, 4, 8, 16, 32)),
)
def test_the_direct_back_end_is_let_in_only_where_it_does_not_cost_what_gathering_costs(
    name: str, tp: int, dp: int
) -> None:
    plain = Layout(tp=tp, dp=dp, ep=True)
    direct = Layout(tp=tp, dp=dp, ep=True, knobs=(("all2all", DIRECT),))
    alike = all(
        exchange_s(name, direct, tokens) == pytest.approx(exchange_s(name, plain, tokens), 1e-9)
        for tokens in (1, 4096)
    )
    if alike:
        assert direct_price(MODELS[name], direct) is not None
    if direct_price(MODELS[name], direct) is None:
        check_priced(direct, MODELS[name])
    else:
        with pytest.raises(BadValue, match="knob all2all"):
            check_priced(direct, MODELS[name])


@pytest.mark.parametrize("backend", ALL_TO_ALL)
def test_of_all_to_all_back_ends_with_one_price_one_may_be_asked(backend: str) -> None:
    layout = parse_layout(f"dp16+ep[all2all={backend}]")
    if backend in (GATHER_SCATTER, DIRECT):
        check_priced(layout, MODELS["OLMoE-1B-7B"])
    else:
        with pytest.raises(BadValue, match=f"no price for {backend}"):
            check_priced(layout, MODELS["OLMoE-1B-7B"])


@pytest.mark.parametrize(
    "text", ["ep[dbo=on]", "ep[placement=round_robin]", "ep[eplb=0]", "ep[eplb=32]"]
)
def test_a_knob_without_a_price_is_refused_by_name_with_what_is_priced(text: str) -> None:
    with pytest.raises(
        BadValue, match=r"knob (dbo|placement|eplb): .*placement \(linear\)"
    ) as told:
        check_priced(parse_layout(text), MODELS["Mixtral-8x7B"])
    assert "\n" not in str(told.value)
    assert text in str(told.value)


@pytest.mark.parametrize("text", ["tp", "ep", "ep[placement=linear]", "tp4[dcp=1]"])
def test_a_knob_that_names_the_default_is_the_layout_without_it(text: str) -> None:
    layout = parse_layout(text)
    check_priced(layout, MODELS["Mixtral-8x7B"])
    loads = [decode_load(8, 500)] * (layout.dp if layout.dp > 1 else 1)
    steps = [
        StepModel(MODELS["Mixtral-8x7B"], each, H200, constants=ROOFLINE)
        for each in (layout, layout.bare)
    ]
    assert len({float(step.times(loads).total_s[0]) for step in steps}) == 1


def test_every_knob_says_which_levels_are_priced() -> None:
    for name, levels in (("all2all", ALL_TO_ALL), ("placement", PLACEMENTS)):
        priced = filter(KNOBS[name].prices, levels)
        assert KNOBS[name].priced == ", ".join(priced)
    unpriced = {name for name, knob in KNOBS.items() if knob.priced == "no level"}
    assert unpriced == {"eplb", "dbo"}
    assert not any(KNOBS[name].prices(level) for name in unpriced for level in ("on", "0", "1"))


@pytest.mark.parametrize(
    ("model", "layout", "why"),
    [
        ("Mixtral-8x7B", "tp8[dcp=2]", "1 to 1, tp over KV heads"),
        ("Qwen3-235B-A22B", "tp8[dcp=4]", "1 to 2, tp over KV heads"),
    ],
)
def test_a_context_group_beyond_the_split_by_heads_is_refused(
    model: str, layout: str, why: str
) -> None:
    with pytest.raises(BadValue, match=why):
        check_priced(parse_layout(layout), MODELS[model])


def seconds(model: str, layout: str, load: StepLoad) -> tuple[float, float]:
    """A step's time, and what of it the context group sends."""
    parsed = parse_layout(layout)
    check_priced(parsed, MODELS[model])
    step = StepModel(MODELS[model], parsed, H200, constants=ROOFLINE)
    return float(step.times([load]).total_s[0]), step.context_s(load)


@pytest.mark.parametrize(
    ("model", "split"), [("DeepSeek-V3", "tp8[dcp=8]"), ("Qwen3-235B-A22B", "tp8[dcp=2]")]
)
def test_splitting_the_cache_costs_messages_and_pays_at_long_contexts(
    model: str, split: str
) -> None:
    short, long = decode_load(64, 100), decode_load(64, 60_000)
    assert seconds(model, split, short) > seconds(model, "tp8", short)
    assert seconds(model, split, long)[0] < seconds(model, "tp8", long)[0]
    whole, parts = (memory(MODELS[model], parse_layout(each), H200) for each in ("tp8", split))
    ways = int(dict(parse_layout(split).knobs)["dcp"])
    assert parts.kv_tokens(4096) == pytest.approx(ways * whole.kv_tokens(4096), 1e-4)


def test_the_messages_of_a_context_group_are_those_of_the_formula() -> None:
    # Qwen3-235B: 94 layers, 64 heads of 128, two ranks that gather 2/8 of the heads in 16 bits.
    link, moved = H200.intra_node, 2 / 8 * 64 * 128 * 2 * 10
    beta = link.bandwidth_bytes_per_s * ROOFLINE.network_efficiency
    alpha = link.latency_s if ROOFLINE.hop_s is None else ROOFLINE.hop_s
    expected_s = 94 * 2 * (alpha + moved / (2 * beta))
    assert seconds("Qwen3-235B-A22B", "tp8[dcp=2]", decode_load(10, 99))[1] == pytest.approx(
        expected_s
    )
    assert seconds("Qwen3-235B-A22B", "tp8", decode_load(10, 99))[1] == 0
    assert seconds("DeepSeek-V3", "tp8[dcp=8]", DUMMY)[0] > 0


def test_a_latent_prompt_gathers_what_lies_before_its_chunk_and_no_queries() -> None:
    first, later = prefill_load(1, 512), prefill_load(1, 512, context=8192)
    alone, behind = (seconds("DeepSeek-V3", "tp8[dcp=8]", load)[1] for load in (first, later))
    queries = seconds("DeepSeek-V3", "tp8[dcp=8]", decode_load(512, 1))[1]
    assert alone < behind < queries
