"""Which layers hold what: the ways configs have to say it, closed lists, and keys nobody read."""

from typing import Any

import pytest

from catalog.errors import BadFile, NotCounted
from catalog.from_hf import model_from_config
from catalog.models import Model

PLAIN: dict[str, Any] = {
    "model_type": "newcomer",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}
MOE = {**PLAIN, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128}
TABLES = 2 * 1000 * 256
ATTENTION = 256 * (2 * 256 + 2 * 64)
NORMS = 2 * 256


def read(base: dict[str, Any] = PLAIN, **changes: object) -> Model:
    return model_from_config({**base, **changes}, name="read", where="read")


def sparse_layers(**changes: object) -> list[int]:
    found, at = [], 0
    for block in read(MOE, **changes).stack:
        found += range(at, at + block.count) if block.routed else ()
        at += block.count
    return found


@pytest.mark.parametrize(
    ("changes", "sparse"),
    [
        ({}, range(8)),
        ({"mlp_layer_types": ["dense", "sparse"] * 4}, [1, 3, 5, 7]),
        ({"is_moe_layer": [False, True, True, True] * 2}, [1, 2, 3, 5, 6, 7]),
        ({"moe_layers": [2, 5]}, [2, 5]),
        ({"interleave_moe_layer_step": 4}, [3, 7]),
        ({"moe_layers": [2], "interleave_moe_layer_step": 4}, [2]),
        ({"moe_layers_enum": "3, 4,7"}, [3, 4, 7]),
        ({"moe_layer_start_index": 2, "moe_layer_end_index": 6, "moe_layer_interval": 2}, [3, 5]),
        ({"num_dense_layers": 6}, [6, 7]),
        ({"first_k_dense_replace": 3}, [3, 4, 5, 6, 7]),
        ({"first_k_dense_replace": 1, "moe_layer_freq": 3}, [3, 6]),
        ({"moe_layer_freq": [0, 1] * 4}, [1, 3, 5, 7]),
        ({"expert_layer_period": 3, "expert_layer_offset": 1}, [1, 4, 7]),
        ({"decoder_sparse_step": 2, "mlp_only_layers": [3]}, [1, 5, 7]),
    ],
)
def test_the_layers_with_experts_are_found(changes: dict[str, Any], sparse: list[int]) -> None:
    assert sparse_layers(**changes) == list(sparse)


def test_parts_beside_the_experts_are_counted() -> None:
    bare = read(MOE).total_params
    matrix = 3 * 256
    assert read(MOE, n_shared_experts=2).total_params - bare == 8 * matrix * 256
    assert read(MOE, share_expert_dim=96).total_params - bare == 8 * matrix * 96
    assert read(MOE, residual_moe=True).total_params - bare == 8 * matrix * 512
    assert read(MOE, use_residual=True).total_params - bare == 8 * matrix * 256
    narrow = read(MOE, moe_hidden_size=64)
    assert narrow.experts is not None
    assert narrow.experts.params_per_expert(256) == 3 * 64 * 128
    assert narrow.experts.shared_params(256) == 256 * 4 + 2 * 256 * 64


@pytest.mark.parametrize(
    "switch", [{"is_moe": False}, {"enable_moe_block": False}, {"num_experts": 0}]
)
def test_a_key_that_switches_experts_off_wins_over_the_others(switch: dict[str, Any]) -> None:
    assert read(MOE, **switch).total_params == read().total_params


def test_heads_and_widths_have_many_names() -> None:
    right = read().total_params
    renamed = {key: value for key, value in PLAIN.items() if key != "num_key_value_heads"}
    assert read(renamed, num_attention_groups=2).total_params == right
    wide = read(attention_head_dim=64)
    assert wide.attention.kv_elements == 2 * 2 * 64


def windowed(**changes: object) -> tuple[int, int | None]:
    found = read(**changes)
    return sum(n for n, each in found.mixers if each.window is not None), found.window


def test_windows_by_list_by_number_and_by_letters() -> None:
    listed = ["sliding_attention"] * 3 + ["full_attention"] * 5
    assert windowed(layer_types=listed, sliding_window=128) == (3, 128)
    assert windowed(sliding_window_pattern=4, sliding_window=128) == (6, 128)
    assert windowed(sliding_window_pattern="LLLG", sliding_window=128) == (6, 128)
    assert windowed(global_attn_every_n_layers=2, sliding_window=64) == (4, 64)
    assert windowed(max_window_layers=6, sliding_window=64) == (2, 64)
    assert windowed(hybrid_layer_pattern=[0, 1] * 4, sliding_window_size=32) == (4, 32)
    assert windowed(sliding_window=64, use_sliding_window=False) == (0, None)


def test_a_window_without_a_word_on_its_layers_is_not_counted_rather_than_taken_for_all() -> None:
    with pytest.raises(NotCounted, match="sliding_window: not known"):
        read(sliding_window=128)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"layer_types": ["wavelet"] * 8}, "layer_types"),
        ({"layer_types": ["linear_attention"] * 8}, "layer_types"),
        ({"layers_block_type": ["moe", "gru"] * 4}, "layers_block_type"),
        ({"hybrid_override_pattern": "M*E-X*E-"}, "hybrid_override_pattern"),
        ({"attn_type_list": [1, 2] * 4}, "attn_type_list"),
        ({"attn_type_list": [1, 0] * 4}, "attn_type_list"),
        (
            {"num_experts": 4, "num_experts_per_tok": 2, "mlp_layer_types": ["thin"] * 8},
            "mlp_layer",
        ),
    ],
)
def test_a_word_that_is_in_no_list_is_not_counted_and_named(
    changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(NotCounted, match=key):
        read(**changes)


def test_a_word_on_experts_that_is_not_known_is_not_counted_either() -> None:
    with pytest.raises(NotCounted, match="mlp_layer_types: 'thin'"):
        read(MOE, mlp_layer_types=["thin"] * 8)


def test_a_known_family_whose_layers_are_of_another_kind_is_not_counted() -> None:
    known = {**MOE, "model_type": "qwen3_moe", "head_dim": 32}
    assert read(known, layer_types=["full_attention"] * 8).counted == "exact"
    with pytest.raises(NotCounted, match="layer_types"):
        read(known, layer_types=["linear_attention", "full_attention"] * 4)


@pytest.mark.parametrize(
    "key", ["ssm_state_size", "memory_layers", "ffn_expansion", "expert_rank", "engram_width",
            "total_ut_steps", "loop_num",
            "token_embedding_dim", "num_init_experts", "logit_rank", "aux_hidden_size"],
)  # fmt: skip
def test_a_key_that_bears_on_size_and_was_not_read_is_named(key: str) -> None:
    with pytest.raises(NotCounted, match=f"{key}: not known of model_type 'newcomer'") as caught:
        read(**{key: 3})
    assert caught.value.keys == (key,)


@pytest.mark.parametrize(
    "harmless",
    [
        {"bos_token_id": 3},
        {"rope_theta": 1e6},
        {"attention_dropout": 0.1},
        {"initializer_range": 0.02},
        {"num_nextn_predict_layers": 1},
        {"rotary_dim": 64, "vision_dim": 1024, "mtp_hidden_size": 8, "time_step_rank": 4},
        {"use_grouped_topk": True, "dim_model_base": 256, "flash_attn": True},
        {"ssm_state_size": 0, "expert_rank": None, "memory_layers": [], "use_ffn_gate": False},
    ],
)
def test_keys_that_cannot_change_a_count_are_left_alone(harmless: dict[str, Any]) -> None:
    assert read(**harmless).total_params == read().total_params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_experts": 4, "num_local_experts": 8},
            "num_local_experts: 8 contradicts num_experts 4",
        ),
        ({"layer_types": ["full_attention"] * 7}, "layer_types: 7 entries for 8 layers"),
        ({"hybrid_override_pattern": "M*"}, "hybrid_override_pattern: 2 entries for 8 layers"),
        ({"sliding_window": -5, "sliding_window_pattern": 2}, "sliding_window: got -5"),
        ({"hidden_size": -256}, "hidden_size: got -256"),
        ({"mlp_layer_types": ["dense"] * 8, "first_k_dense_replace": 1}, "contradicts"),
        ({"is_moe_layer": [0, 1] * 4}, "is_moe_layer: allowed: a list of true and false"),
        ({"moe_layers": [9]}, "moe_layers: names layer 9 of 8"),
        ({"moe_layers_enum": "a,b"}, "moe_layers_enum: allowed: layer numbers"),
        ({"moe_layers_enum": "1," + 5000 * "9"}, "moe_layers_enum: allowed: layer numbers"),
        ({"moe_layers_enum": [1, None]}, "moe_layers_enum: allowed: layer numbers"),
        ({"moe_layers_enum": {"1": 2}}, "moe_layers_enum: allowed: layer numbers"),
    ],
)
def test_contradictions_are_bad_input_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadFile) as caught:
        read(MOE, **changes)
    assert not isinstance(caught.value, NotCounted)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_without_a_size_and_of_an_unknown_type_is_not_counted_by_that_type() -> None:
    bare = {key: value for key, value in PLAIN.items() if key != "vocab_size"}
    with pytest.raises(NotCounted, match="model_type: 'newcomer' is not known here"):
        read(bare)
    with pytest.raises(BadFile, match="vocab_size: is missing"):
        read({**bare, "model_type": ""})


def test_an_activation_without_a_gate_leaves_an_unknown_family_uncounted() -> None:
    with pytest.raises(NotCounted, match="hidden_act: 'relu2'"):
        read(hidden_act="relu2")


def test_a_wrapper_keeps_what_stands_outside_of_it() -> None:
    inner = {key: value for key, value in PLAIN.items() if key != "tie_word_embeddings"}
    for name in ("text_config", "llm_config", "language_config", "thinker_config"):
        found = model_from_config(
            {
                "model_type": "sees",
                name: inner,
                "tie_word_embeddings": True,
                "quantization_config": {"quant_method": "fp8"},
            },
            name="wrapped",
        )
        assert found.tied_embeddings
        assert found.weight_dtype == "fp8"
    deep = {"model_type": "omni", "thinker_config": {"text_config": PLAIN}}
    assert model_from_config(deep, name="deep").total_params == read().total_params


@pytest.mark.parametrize("model_type", ["newcomer", "llama"])
def test_a_decoder_that_has_an_encoder_is_not_counted_as_if_it_stood_alone(model_type: str) -> None:
    halves = {"encoder": PLAIN, "decoder": {**PLAIN, "model_type": model_type}}
    with pytest.raises(NotCounted, match="is_encoder_decoder"):
        model_from_config({"model_type": "both", "is_encoder_decoder": True, **halves}, name="both")


def test_a_state_is_fixed_and_a_window_ends_the_growth() -> None:
    found = read(
        model_type="qwen3_next",
        full_attention_interval=4,
        head_dim=32,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        linear_conv_kernel_dim=4,
        num_experts=0,
    )
    state = 4 * 16 * 16 + (2 * 32 + 64) * 3
    assert found.state_elements == 6 * state
    assert found.cache_bytes(1000) == 2 * (6 * state + 2 * 1000 * 2 * 2 * 32)
    near = read(sliding_window_pattern=2, sliding_window=100)
    assert near.cache_bytes(1000) == 2 * 4 * (1000 + 100) * 2 * 2 * 32
