"""What a layout cannot carry, and where its ranks go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import Infeasible
from catalog.model_table import MODELS, model
from strategies import ALL, Layout, parse_layout
from strategies.feasible import layout_violations
from strategies.placement import place


@pytest.mark.parametrize("name", ["Mixtral-8x7B", "OLMoE-1B-7B", "Qwen1.5-MoE-A2.7B"])
def test_the_study_s_layouts_fit_its_models(name: str) -> None:
    assert [layout_violations(parse_layout(layout), model(name)) for layout in ALL] == [()] * 4


def test_the_number_that_fails_is_named() -> None:
    (reason,) = layout_violations(parse_layout("tp3"), model("OLMoE-1B-7B"))[:1]
    assert "16 attention heads" in reason
    assert "tp = 3" in reason


def test_key_value_heads_may_be_repeated_over_more_ranks_but_not_cut_unevenly() -> None:
    assert layout_violations(Layout(tp=16), model("Mixtral-8x7B")) == ()
    reasons = layout_violations(Layout(tp=12), model("Grok-1"))
    assert any("8 KV heads" in reason for reason in reasons)


def test_without_expert_parallelism_each_expert_is_cut_over_tensor_and_data_ranks() -> None:
    uneven = Layout(tp=4, dp=96)  # 1408 is divisible by 4 and not by 384
    assert any(
        "tp*dp = 384" in reason for reason in layout_violations(uneven, model("Qwen1.5-MoE-A2.7B"))
    )


def test_experts_cannot_be_spread_over_more_ranks_than_there_are() -> None:
    reasons = layout_violations(Layout(dp=16, ep=True), model("Mixtral-8x7B"))
    assert reasons == ("8 experts over 16 ranks leave ranks empty",)


def test_a_dense_model_has_no_experts_to_spread() -> None:
    assert layout_violations(Layout(dp=2, ep=True), model("LLaDA-8B")) == (
        "LLaDA-8B has no experts to spread",
    )


def test_more_stages_than_layers_are_refused() -> None:
    assert any(
        "pp = 64" in reason for reason in layout_violations(Layout(pp=64), model("Mixtral-8x7B"))
    )


@given(st.sampled_from(sorted(MODELS)))
def test_one_gpu_never_has_a_divisibility_problem(name: str) -> None:
    assert layout_violations(Layout(), MODELS[name]) == ()


@given(
    tp=st.sampled_from([1, 2, 4, 8]),
    dp=st.integers(1, 9),
    pp=st.integers(1, 3),
    per_node=st.sampled_from([4, 6, 8]),
)
def test_bundles_sum_to_the_gpus_and_no_tensor_group_is_cut(
    tp: int, dp: int, pp: int, per_node: int
) -> None:
    layout = Layout(tp=tp, dp=dp, pp=pp)
    if tp > per_node:
        with pytest.raises(Infeasible, match=f"tp = {tp}"):
            place(layout, gpus_per_node=per_node)
        return
    taken = place(layout, gpus_per_node=per_node)
    assert sum(taken) == layout.num_gpus
    assert all(gpus % tp == 0 and gpus <= per_node for gpus in taken)


def test_a_tensor_group_over_nodes_needs_to_be_asked_for() -> None:
    assert place(Layout(tp=16), gpus_per_node=8, allow_split=True) == (8, 8)
