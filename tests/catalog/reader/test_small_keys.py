"""Keys that change one number: the longest context, widths of feed-forward parts, small vectors."""

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import BadFile, NotCounted
from catalog.from_hf import load_model, model_from_config, read_model
from catalog.models import GroupedQueryAttention, Model
from catalog.reader.notes import doubts

PLAIN: dict[str, Any] = {
    "model_type": "newcomer", "hidden_size": 256, "intermediate_size": 512,
    "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2,
    "vocab_size": 1000, "max_position_embeddings": 4096, "tie_word_embeddings": False,
    "hidden_act": "silu",
}  # fmt: skip
MOE = {**PLAIN, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128}


def read(base: dict[str, Any] = PLAIN, **changes: object) -> Model:
    return model_from_config({**base, **changes}, name="read", where="read")


@pytest.mark.parametrize(
    ("changes", "longest"),
    [
        ({}, 4096),
        ({"max_position_embeddings": None}, 0),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4}}, 16_384),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.5}}, 10_240),
        ({"rope_scaling": {"rope_type": "ntk", "factor": 1}}, 4096),
        ({"rope_parameters": {"rope_type": "linear", "factor": 3.0}}, 12_288),
        # Scaled already, or no number that scales.
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, 4096),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, 4096),
        ({"rope_scaling": {"factor": 4}}, 4096),
        ({"rope_scaling": {"rope_type": 7, "factor": 4}}, 4096),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0.5}}, 4096),
        ({"rope_scaling": {"rope_type": "linear", "factor": True}}, 4096),
        ({"rope_scaling": {"rope_type": "linear", "factor": "4"}}, 4096),
        ({"rope_scaling": {"rope_type": "linear"}}, 4096),
        ({"rope_scaling": "linear"}, 4096),
        ({"rope_scaling": {"rope_type": "linear", "factor": 10_001}}, 40_960_000),
        # By kind of layer.
        (
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 2.0},
                    "sliding_attention": {"rope_type": "default"},
                }
            },
            8192,
        ),
        ({"max_position_embeddings": None, "n_positions": 2048}, 2048),
        ({"max_position_embeddings": None, "model_max_length": 512}, 512),
        # Of several the least, and `model_max_length` before all of them.
        ({"seq_length": 2048}, 2048),
        ({"max_seq_len": 8192}, 4096),
        ({"model_max_length": 131_072}, 131_072),
        ({"model_max_length": 131_072, "seq_length": 2048}, 131_072),
    ],
)
def test_the_longest_context_is_what_the_config_says_with_what_comes_on_top(
    changes: dict[str, Any], longest: int
) -> None:
    base = {key: value for key, value in PLAIN.items() if changes.get(key, 0) is not None}
    given = {key: value for key, value in changes.items() if value is not None}
    assert read(base, **given).max_context == longest


def test_gemma_3_writes_its_context_scaled_already() -> None:
    scaled = {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    gemma = {**PLAIN, "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh"}
    assert read(gemma, head_dim=32, sliding_window=512, **scaled).max_context == 4096


@pytest.mark.parametrize(
    "key", ["dense_intermediate_size", "intermediate_size_mlp", "ffn_dim", "ffn_hidden_size",
            "n_inner", "mlp_hidden_size", "block_ff_dim", "prefix_dense_intermediate_size"],
)  # fmt: skip
def test_a_dense_part_s_width_has_many_names(key: str) -> None:
    base = {name: value for name, value in PLAIN.items() if name != "intermediate_size"}
    assert read(base, **{key: 512}).total_params == read().total_params


@pytest.mark.parametrize(
    ("changes", "width"),
    [
        # Two thirds of 600, up to a multiple of 256.
        ({}, 512),
        ({"block_multiple_of": 100}, 400),
        ({"block_multiple_of": 99}, 495),
        ({"block_multiple_of": 1, "block_ffn_dim_multiplier": 1.5}, 600),
        ({"block_multiple_of": 1, "block_ffn_dim_multiplier": 0.5}, 200),
    ],
)
def test_a_width_that_is_written_too_large_is_adjusted_as_lfm2_does(
    changes: dict[str, Any], width: int
) -> None:
    adjusted = read(intermediate_size=600, block_auto_adjust_ff_dim=True, **changes)
    assert adjusted.dense_width == width
    assert read(intermediate_size=600, block_auto_adjust_ff_dim=False).dense_width == 600


@pytest.mark.parametrize("factor", [True, "2", 0, -1, 100])
def test_a_factor_of_a_width_is_a_number_between_0_and_100(factor: object) -> None:
    with pytest.raises(BadFile, match="block_ffn_dim_multiplier"):
        read(block_auto_adjust_ff_dim=True, block_ffn_dim_multiplier=factor)
    assert read(block_auto_adjust_ff_dim=True, block_ffn_dim_multiplier=99.5).dense_width > 0


def test_layers_that_borrow_a_cache_may_be_twice_as_wide() -> None:
    bare = read(model_type="gemma4_text", head_dim=32, hidden_activation="gelu_pytorch_tanh")
    wide = read(
        model_type="gemma4_text", head_dim=32, hidden_activation="gelu_pytorch_tanh",
        use_double_wide_mlp=True, num_kv_shared_layers=3,
    )  # fmt: skip
    assert wide.dense_ffn_params - bare.dense_ffn_params == 3 * 3 * 256 * 512
    assert wide.dense_width == 1024


@pytest.mark.parametrize("act", ["relu", "relu2", "gelu", "gelu_new", "squared_relu"])
@pytest.mark.parametrize("key", ["hidden_act", "mlp_hidden_act", "activation_function"])
def test_an_activation_that_may_have_no_gate_is_not_guessed_about(act: str, key: str) -> None:
    base = {name: value for name, value in PLAIN.items() if name != "hidden_act"}
    with pytest.raises(NotCounted, match=f"'{act}': whether the feed-forward part has a gate"):
        read(base, **{key: act})


def test_more_experts_chosen_than_there_are_is_bad_input() -> None:
    assert read(MOE, num_experts_per_tok=4).experts is not None
    with pytest.raises(BadFile, match="5 is more than the 4 experts"):
        read(MOE, num_experts_per_tok=5)


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({}, 0),
        ({"n_shared_experts": 2}, 2 * 128),
        ({"n_shared_experts": 0}, 0),
        ({"num_shared_experts": 1}, 128),
        ({"n_shared_experts": 2, "shared_expert_intermediate_size": 96}, 96),
        ({"shared_intermediate_size": 64}, 64),
    ],
)
def test_shared_experts_are_as_wide_as_said_or_as_so_many_routed_ones(
    changes: dict[str, Any], shared: int
) -> None:
    experts = read(MOE, **changes).experts
    assert experts is not None
    assert (experts.count, experts.top_k, experts.width, experts.layers) == (4, 2, 128, 8)
    assert experts.shared_width == shared


@pytest.mark.parametrize("key", ["use_routing_bias", "use_moe_router_bias"])
def test_a_router_s_bias_is_one_number_an_expert(key: str) -> None:
    with_bias, without = read(MOE, **{key: True}), read(MOE, **{key: False})
    assert with_bias.total_params - without.total_params == 8 * 4
    assert without.total_params == read(MOE).total_params


@pytest.mark.parametrize(("changes", "biases"), [
    # Of a gated part: two of 512 and one of 256.
    ({"mlp_bias": True}, 8 * (2 * 512 + 256)),
    # Queries 256, keys and values 64 each, and what goes out, 256.
    ({"attention_bias": True}, 8 * (256 + 2 * 64 + 256)),
])  # fmt: skip
def test_biases_are_counted_where_a_llama_says_so(changes: dict[str, Any], biases: int) -> None:
    llama = {**PLAIN, "model_type": "llama"}
    assert read(llama, **changes).total_params - read(llama).total_params == biases


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in PLAIN.items() if name != key}


def test_a_count_by_common_keys_is_doubted_before_anything_else_is_said() -> None:
    found = read(without("max_position_embeddings"))
    assert doubts(found).startswith("model_type 'newcomer' is read by the keys that most families")
    assert found.notes[1] == "its longest sequence is not told: lengths are not checked"


def test_a_head_that_an_unknown_family_does_not_mention_is_said_to_be_taken_as_its_embedding() -> (
    None
):
    assert "its head is taken to be its embedding" in doubts(read(without("tie_word_embeddings")))
    for tied in (True, False):
        assert "its head" not in doubts(read(tie_word_embeddings=tied))


def test_a_model_that_is_not_counted_has_the_context_that_a_server_would_give_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**PLAIN, "engram_width": 3, "model_max_length": 131_072}))
    assert (read_model(str(path)).counted, read_model(str(path)).max_context) == ("no", 131_072)


def test_tied_tables_are_counted_once_by_either_key() -> None:
    apart = read().total_params
    assert apart - read(tie_word_embeddings=True).total_params == 1000 * 256
    assert apart - read(weight_tying=True).total_params == 1000 * 256


def test_a_model_of_layers_of_an_unknown_kind_is_not_counted() -> None:
    with pytest.raises(NotCounted, match="layer_types"):
        read(layer_types=["nothing"] * 8)


@pytest.mark.parametrize("layers", [0, 10_001, True, "8"])
def test_a_number_of_layers_is_a_whole_number_up_to_ten_thousand(layers: object) -> None:
    with pytest.raises(BadFile, match="num_hidden_layers"):
        read(num_hidden_layers=layers)


def test_a_family_is_known_by_its_class_where_its_type_is_another_s() -> None:
    with pytest.raises(NotCounted, match="is_encoder_decoder"):
        read(is_encoder_decoder=True)
    assert read(is_encoder_decoder=False).counted == "generic"
    assert read(model_type="llama").counted == "exact"
    assert "unknown model_type 'newcomer'" in read().source
    assert read(model_type="llama").source == "read (llama)"


def test_weights_of_an_unknown_quantisation_are_read_and_refused_for_estimates(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.json"
    config = {**PLAIN, "model_type": "llama", "quantization_config": {"quant_method": "brand-new"}}
    path.write_text(json.dumps(config))
    found = read_model(str(path))
    assert (found.weight_dtype, found.sized, found.counted) == ("unknown", False, "exact")
    assert found.total_params == read({**PLAIN, "model_type": "llama"}).total_params
    with pytest.raises(NotCounted, match="quantization_config"):
        load_model(str(path))


def test_experts_that_do_nothing_have_a_place_in_the_router_alone() -> None:
    config = {
        "model_type": "longcat_flash", "hidden_size": 64, "ffn_hidden_size": 96, "num_layers": 2,
        "num_attention_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 4, "v_head_dim": 8, "n_routed_experts": 8, "moe_topk": 2,
        "expert_ffn_hidden_size": 32, "vocab_size": 100, "max_position_embeddings": 128,
    }  # fmt: skip
    bare, idle = read(config, zero_expert_num=0), read(config, zero_expert_num=3)
    # In each of two layers three rows of the router, and three numbers of its bias.
    assert idle.total_params - bare.total_params == 2 * 3 * (64 + 1)


def test_the_attention_of_a_model_of_mixed_layers_tells_of_its_windows() -> None:
    mixed = read(sliding_window_pattern=2, sliding_window=100)
    assert [(n, mixer.window) for n, mixer in mixed.mixers][:2] in (
        [(1, 100), (1, None)], [(1, None), (1, 100)],
    )  # fmt: skip
    assert isinstance(mixed.attention, GroupedQueryAttention)
    assert (mixed.attention.window, mixed.attention.windowed_layers) == (100, 4)
    assert mixed.attention.chunked is False
    assert mixed.blocks
    equal = read()
    assert isinstance(equal.attention, GroupedQueryAttention)
    assert (equal.attention.window, equal.attention.windowed_layers, equal.blocks) == (None, 0, ())


PUBLISHED: list[tuple[dict[str, object], float]] = [
    # MiniMax-M2 names the width of a part that MiniMax-M1 had.
    (
        {
            "model_type": "minimax_m2", "hidden_size": 3072, "intermediate_size": 1536,
            "mlp_intermediate_size": 8192, "shared_intermediate_size": 0,
            "shared_moe_mode": "sigmoid", "num_attention_heads": 48, "num_key_value_heads": 8,
            "head_dim": 128, "num_hidden_layers": 62, "num_local_experts": 256,
            "num_experts_per_tok": 8, "use_qk_norm": True, "qk_norm_type": "per_layer",
            "use_routing_bias": True, "tie_word_embeddings": False, "vocab_size": 200064,
            "num_mtp_modules": 3, "mtp_transformer_layers": 1,
        },
        228_689_764_864,  # that of MiniMax-M2.5, by transformers' modules
    ),
    # Phi-4-mini-instruct: 3.8 B.
    (
        {
            "model_type": "phi3", "full_attn_mod": 1, "interpolate_factor": 1,
            "hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 200064,
            "tie_word_embeddings": True, "sliding_window": 262144, "lm_head_bias": False,
        },
        3_836_021_760,
    ),
    # Llama-Guard-4-12B: 12.0 B with 0.9 B that see.
    (
        {
            "model_type": "llama4_text", "hidden_size": 5120, "intermediate_size": 8192,
            "intermediate_size_mlp": 8192, "interleave_moe_layer_step": 0, "moe_layers": [],
            "num_local_experts": 0, "num_experts_per_tok": 1, "num_attention_heads": 40,
            "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 48,
            "no_rope_layers": [1, 1, 1, 0] * 12, "attention_chunk_size": 8192,
            "vocab_size": 202048, "tie_word_embeddings": False,
        },
        11_137_633_280,
    ),
    # Ring-mini-linear-2.0: 16.4 B, of 20 layers 16 with a state.
    (
        {
            "model_type": "bailing_moe_linear", "hidden_size": 2048, "intermediate_size": 5120,
            "moe_intermediate_size": 512, "moe_shared_expert_intermediate_size": 512,
            "num_experts": 256, "num_experts_per_tok": 8, "num_shared_experts": 1,
            "first_k_dense_replace": 1, "num_attention_heads": 16, "num_key_value_heads": 4,
            "head_dim": 128, "num_hidden_layers": 20, "layer_group_size": 5, "group_norm_size": 4,
            "linear_silu": False, "use_qk_norm": True, "moe_router_enable_expert_bias": True,
            "vocab_size": 157184, "tie_word_embeddings": False, "num_nextn_predict_layers": 0,
        },
        16.42e9,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("config", "parameters"), PUBLISHED)
def test_a_published_model_is_not_refused_for_keys_that_its_code_builds_nothing_from(
    config: dict[str, object], parameters: float
) -> None:
    assert model_from_config(config, name="read").total_params == pytest.approx(
        parameters, rel=0.001
    )
