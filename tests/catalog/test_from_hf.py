"""Models from configs: families that transformers cannot instantiate, and configs gone wrong."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.errors import BadFile
from catalog.from_hf import model_from_config
from catalog.model_table import model
from catalog.models import GroupedQueryAttention, LatentAttention, Model

MIXTRAL: dict[str, object] = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 32768,
    "vocab_size": 32000,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
GROK: dict[str, object] = {
    "vocab_size": 131072,
    "hidden_size": 6144,
    "intermediate_size": 32768,
    "num_hidden_layers": 64,
    "num_attention_heads": 48,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "num_experts_per_tok": 2,
    "tie_word_embeddings": True,
}
GROK_OF_XAI: dict[str, object] = {
    "vocab_size": 131072,
    "sequence_len": 8192,
    "model": {
        "emb_size": 6144,
        "widening_factor": 8,
        "key_size": 128,
        "num_q_heads": 48,
        "num_kv_heads": 8,
        "num_layers": 64,
        "num_experts": 8,
        "num_selected_experts": 2,
    },
}
LLADA: dict[str, object] = {
    "model_type": "llada",
    "architectures": ["LLaDAModelLM"],
    "auto_map": {"AutoConfig": "configuration_llada.LLaDAConfig"},
    "d_model": 4096,
    "n_heads": 32,
    "n_kv_heads": 32,
    "n_layers": 32,
    "mlp_hidden_size": 12288,
    "embedding_size": 126464,
    "vocab_size": 126464,
    "max_sequence_length": 4096,
    "include_bias": False,
    "include_qkv_bias": False,
    "weight_tying": False,
}
LLADA_MOE: dict[str, object] = {
    "model_type": "llada",
    "architectures": ["LLaDAMoEModelLM"],
    "vocab_size": 157184,
    "hidden_size": 2048,
    "dense_intermediate_size": 8192,
    "expert_intermediate_size": 1024,
    "shared_expert_intermediate_size": None,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 8192,
    "moe_layer_freq": [1] * 16,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "qk_layernorm": True,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (MIXTRAL, "Mixtral-8x7B"),
        ({**GROK, "model_type": "grok-1", "num_experts": 8}, "Grok-1"),
        (
            {**GROK, "model_type": "mixtral", "num_local_experts": 8}
            | {"architectures": ["Grok1ModelForCausalLM"]},
            "Grok-1",
        ),
        (GROK_OF_XAI, "Grok-1"),
        (LLADA, "LLaDA-8B"),
        (LLADA_MOE, "LLaDA-MoE-7B"),
    ],
    ids=["mixtral", "grok", "grok-as-mixtral", "grok-of-xai", "llada", "llada-moe"],
)
def test_a_config_gives_its_row_of_the_catalog(config: dict[str, object], name: str) -> None:
    read, row = model_from_config(config, name=name), model(name)
    assert read.attention == row.attention
    assert read.experts == row.experts
    assert (read.total_params, read.active_params) == (row.total_params, row.active_params)
    assert (read.kind, read.max_context) == (row.kind, row.max_context)


def test_a_family_unknown_here_is_read_by_common_keys_and_says_so() -> None:
    read = model_from_config({**MIXTRAL, "model_type": "brandnew"}, name="brandnew")
    assert read.total_params == model("mixtral").total_params
    assert "unknown model_type 'brandnew'" in read.source


def test_a_multimodal_config_is_counted_by_its_text_part() -> None:
    read = model_from_config({"model_type": "omni", "text_config": MIXTRAL}, name="omni")
    assert read.total_params == model("mixtral").total_params


def test_a_dense_config_has_no_experts() -> None:
    dense = {**MIXTRAL, "model_type": "mistral", "num_local_experts": None}
    read = model_from_config(dense, name="dense")
    assert read.experts is None
    assert read.active_params == read.total_params
    assert read.dense_layers == 32


def test_a_window_counts_only_the_layers_that_have_it() -> None:
    def attention(**changes: object) -> GroupedQueryAttention:
        found = model_from_config({**MIXTRAL, **changes}, name="windowed").attention
        assert isinstance(found, GroupedQueryAttention)
        return found

    every = attention(sliding_window=4096)
    assert (every.window, every.windowed_layers) == (4096, 32)
    kinds = ["sliding_attention"] * 5 + ["full_attention"] * 27
    assert attention(sliding_window=128, layer_types=kinds).windowed_layers == 5
    assert attention(sliding_window=128, max_window_layers=28).windowed_layers == 4
    assert attention(sliding_window=128, use_sliding_window=False).window is None
    assert attention(model_type="gpt_oss", sliding_window=128).windowed_layers == 16


def test_latent_attention_caches_one_latent_and_the_rotary_part() -> None:
    latent = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128}
    read = model_from_config({**MIXTRAL, **latent, "v_head_dim": 128}, name="latent")
    assert isinstance(read.attention, LatentAttention)
    assert read.attention.kv_elements == 576
    assert read.attention.kv_heads == 1


@pytest.mark.parametrize(
    ("quantization", "weights", "experts"),
    [
        (None, "bfloat16", None),
        ({"quant_method": "fp8"}, "fp8", None),
        ({"quant_method": "awq", "bits": 4}, "int4", None),
        ({"quant_method": "gptq", "bits": 8}, "int8", None),
        ({"quant_method": "mxfp4"}, "bfloat16", "mxfp4"),
    ],
)
def test_the_stored_data_type_is_the_quantised_one(
    quantization: object, weights: str, experts: str | None
) -> None:
    read = model_from_config({**MIXTRAL, "quantization_config": quantization}, name="quantised")
    assert (read.weight_dtype, read.expert_dtype) == (weights, experts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "hidden_size or d_model or n_embd: is missing"),
        ({"hidden_size": "4096"}, "hidden_size: got '4096', allowed: a whole number, 1 to"),
        ({"num_hidden_layers": -3}, "num_hidden_layers: got -3"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: got 0"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: got 1000000000"),
        ({"num_attention_heads": True}, "num_attention_heads: got True"),
        ({"vocab_size": 1e400}, "vocab_size: got inf"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok: 9 is more than the 8 experts"),
        ({"num_key_value_heads": 5}, "num_key_value_heads: 5 does not divide 32"),
        ({"hidden_size": 4097}, "head_dim: is missing, and 32 heads do not divide 4097"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: got 'no', allowed: true or false"),
        ({"quantization_config": []}, "quantization_config: got list, allowed: an object"),
        ({"moe_layer_freq": [1, 0]}, "moe_layer_freq: 2 entries for 32 layers"),
        ({"sliding_window": 128, "layer_types": ["x"]}, "layer_types: 1 entries for 32 layers"),
        ({"model_type": "x", "mamba\n": 1}, "'mamba\\n': not known of model_type 'x'"),
        ({"model_type": 7}, "model_type: got 7, allowed: text"),
        ({"model_type": "x", "mamba_d_state": 16}, "mamba_d_state: not known of model_type 'x'"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "is_encoder_decoder: this family"),
    ],
)
def test_a_nonsensical_key_is_named_with_its_file_in_one_line(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BadFile) as caught:
        model_from_config({**MIXTRAL, **changes}, name="bad", where="some/config.json")
    assert str(caught.value).startswith(f"some/config.json: {message}")
    assert "\n" not in str(caught.value)


def test_the_hubs_switch_c_config_is_refused_with_the_row_that_is_right() -> None:
    switch = {"model_type": "switch_transformers", "num_layers": 15, "num_decoder_layers": 12}
    sizes = {"d_model": 2080, "num_heads": 30, "d_kv": 64}
    sparse = {"num_sparse_encoder_layers": 15, "num_sparse_decoder_layers": 15}
    with pytest.raises(BadFile, match="for switch-c use the catalog's row"):
        model_from_config({**switch, **sizes, **sparse}, name="switch")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text("añ\n\0", max_size=5)
json_values = scalars | st.lists(scalars, max_size=3) | st.just({"quant_method": 3, "bits": -1})
known_keys = sorted({*MIXTRAL, *GROK_OF_XAI, *LLADA, *LLADA_MOE, "text_config", "kv_lora_rank"})


def outcome(config: dict[str, object]) -> Model | str:
    try:
        return model_from_config(config, name="fuzz")
    except BadFile as error:
        return str(error)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    base=st.sampled_from([MIXTRAL, GROK_OF_XAI, LLADA, LLADA_MOE]),
    changes=st.dictionaries(st.sampled_from(known_keys), json_values, max_size=4),
)
def test_any_config_gives_a_countable_model_or_a_bad_file(
    base: dict[str, object], changes: dict[str, object]
) -> None:
    read = outcome({**base, **changes})
    if isinstance(read, str):
        assert read.isprintable()
    else:
        assert 0 < read.active_params <= read.total_params
