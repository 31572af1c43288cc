"""Every row against the numbers its publisher printed."""

import pytest

from catalog.errors import UnknownName
from catalog.model_table import ALIASES, MODELS, model
from catalog.models import Experts, Model

B = 1e9

# name, total, active: as printed, so a count must round to it.
# Mixtral, Qwen1.5-MoE, OLMoE, LLaDA: table I of the parallelism paper and the model cards.
PUBLISHED = [
    ("Mixtral-8x7B", "46.7", "12.9"),
    ("Qwen1.5-MoE-A2.7B", "14.3", "2.7"),
    ("OLMoE-1B-7B", "6.9", "1.3"),
    ("Qwen3-235B-A22B", "235", "22"),
    ("LLaDA-8B", "8.0", "8.0"),
]
# Publishers that leave the input embedding, looked up and not multiplied, out of "active".
PUBLISHED_WITHOUT_EMBEDDING = [
    ("DeepSeek-V3", "671", "37"),
    ("gpt-oss-20b", "20.91", "3.61"),
    ("gpt-oss-120b", "116.83", "5.13"),
    ("LLaDA-MoE-7B", "7", "1.4"),
]


def rounds_to(count: float, printed: str) -> bool:
    digits = len(printed.partition(".")[2])
    return f"{count / B:.{digits}f}" == printed


@pytest.mark.parametrize(("name", "total", "active"), PUBLISHED)
def test_counts_round_to_the_published_ones(name: str, total: str, active: str) -> None:
    assert rounds_to(model(name).total_params, total)
    assert rounds_to(model(name).active_params, active)


@pytest.mark.parametrize(("name", "total", "active"), PUBLISHED_WITHOUT_EMBEDDING)
def test_counts_without_the_input_embedding_round_to_the_published_ones(
    name: str, total: str, active: str
) -> None:
    found = model(name)
    assert rounds_to(found.total_params, total)
    assert rounds_to(found.active_params - found.vocab * found.hidden, active)


def test_qwen3_30b_has_the_totals_of_its_card_and_its_active_count_to_two_percent() -> None:
    found = model("Qwen3-30B-A3B")
    assert rounds_to(found.total_params, "30.5")
    assert rounds_to(found.total_params - found.embedding_params, "29.9")
    # The card says 3.3; the count is 3.353, so 3.3 must be cut off rather than rounded.
    assert found.active_params == pytest.approx(3.3 * B, rel=0.02)


def test_llama_65b_is_within_a_fifth_of_a_percent_of_its_papers_table() -> None:
    assert model("LLaMA-65B").total_params == pytest.approx(65.2 * B, rel=0.002)


def test_grok_counts_half_a_percent_above_the_published_314_billion() -> None:
    # 315.68 by the released code's shapes: more than the rounding of 314 explains, cause unknown.
    assert model("grok").total_params == pytest.approx(314 * B, rel=0.006)
    assert model("grok").active_params == pytest.approx(86 * B, rel=0.03)


def test_switch_c_has_1571_billion_parameters_only_with_thirty_expert_layers() -> None:
    assert rounds_to(model("Switch-C-2048").total_params, "1571")


def test_mixtral_with_half_its_experts_loses_only_expert_and_router_weights() -> None:
    whole, half = model("Mixtral-8x7B"), model("Mixtral-4x7B")
    assert half.expert_params * 2 == whole.expert_params
    routers = whole.shared_expert_params - half.shared_expert_params
    assert whole.total_params - half.total_params == half.expert_params + routers


# Architecture table of the qs paper's reproduction: bfloat16 cache bytes per token and layer.
@pytest.mark.parametrize(
    ("name", "cache_bytes"),
    [
        ("DeepSeek-V3", 1152),
        ("Qwen3-235B-A22B", 2048),
        ("Grok-1", 4096),
        ("Switch-C-2048", 7680),
        ("Mixtral-8x7B", 4096),
        ("Qwen1.5-MoE-A2.7B", 8192),
        ("OLMoE-1B-7B", 8192),
        ("Qwen3-30B-A3B", 2048),
        ("gpt-oss-20b", 2048),
        ("gpt-oss-120b", 2048),
        ("LLaDA-8B", 16384),
        ("LLaDA-MoE-7B", 8192),
    ],
)
def test_cache_bytes_per_token_and_layer(name: str, cache_bytes: int) -> None:
    assert 2 * model(name).attention.kv_elements == cache_bytes


# Table 3 of the qs paper prints s with four decimals.
@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("DeepSeek-V3", "0.0312"),
        ("Qwen3-235B-A22B", "0.0625"),
        ("Grok-1", "0.2500"),
        ("Switch-C-2048", "0.0005"),
    ],
)
def test_active_fractions_are_the_papers(name: str, printed: str) -> None:
    experts = model(name).experts
    assert experts is not None
    assert f"{experts.active_fraction:.4f}" == printed


@pytest.mark.parametrize("row", MODELS.values(), ids=lambda row: row.name)
def test_every_row_says_where_it_is_from_and_is_consistent(row: Model) -> None:
    assert row.source
    assert 0 < row.active_params <= row.total_params
    assert (row.dense_width > 0) == (row.dense_layers > 0)
    assert row.attention.heads % row.attention.kv_heads == 0
    assert row.attention.windowed_layers <= row.layers


@pytest.mark.parametrize(
    "name",
    [
        "Qwen-MoE-A2.7B",
        "qwen/qwen1.5-moe-a2.7b-chat",
        "QWEN1.5-MOE-A2.7B",
        " Qwen/Qwen1.5-MoE-A2.7B ",
    ],
)
def test_a_model_is_found_by_name_alias_and_hub_id_in_any_case(name: str) -> None:
    assert model(name) is MODELS["Qwen1.5-MoE-A2.7B"]


def test_every_alias_leads_to_a_row_and_hides_none() -> None:
    lower = {name.lower() for name in MODELS}
    for alias, name in ALIASES.items():
        assert model(alias) is MODELS[name]
        assert alias.lower() not in lower


def test_a_misspelt_model_is_refused_with_the_close_one_and_the_way_out() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean .*Mixtral-8x7B.*config\.json"):
        model("mixtral-8x7")


@pytest.mark.parametrize(
    ("name", "count", "top_k"),
    [("tiny-olmoe", 64, 8), ("tiny-mixtral", 8, 2), ("tiny-qwen", 60, 4)],
)
def test_tiny_checkpoints_route_as_the_model_they_stand_for(
    name: str, count: int, top_k: int
) -> None:
    experts = model(name).experts
    assert isinstance(experts, Experts)
    assert (experts.count, experts.top_k, experts.width) == (count, top_k, 64)
    assert model(name).hf_id is None
