"""Files as publishers ship them: beside sizes they hold keys that no part of a model hangs on."""

from typing import Any

import pytest

from catalog.errors import NotCounted
from catalog.from_hf import model_from_config
from catalog.models import Model

# What counts, and what the published file of the family says besides.
WHOLE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "afmoe": ({}, {"use_grouped_mm": True, "num_limited_groups": 1, "route_scale": 2.448}),
    "cohere2": (
        {},
        {"layer_switch": 4, "order_of_interleaved_layers": "local_attn_first",
         "use_parallel_block": True, "use_embedding_sharing": True, "use_gated_activation": True},
    ),
    "ernie4_5_moe": (
        {},
        {"moe_capacity": [64, 64, 64], "moe_gate": "topk", "moe_group": "dummy",
         "moe_multimodal_dispatch_use_allgather": "v2-alltoall", "compression_ratio": 1.0,
         "use_flash_attention": True, "moe_use_aux_free": True},
    ),
    "falcon_h1": ({}, {"mamba_use_mlp": True, "mlp_expansion_factor": 8}),
    "hunyuan_v1_dense": (
        {"head_dim": 128},
        {"dense_list": [4096, 0], "org_vocab_size": 128_167, "pool_type": "last"},
    ),
    "hunyuan_v1_moe": (
        {"head_dim": 128, "num_experts": 8, "moe_topk": 2},
        {"dense_list": [4096, 0], "anyres_pooling_size": 2, "num_media_embeds": 257,
         "vit_mapping_type": "simple_conv_mlp", "vit_patch": 1},
    ),
    "lfm2": (
        {"full_attn_idxs": [2, 5], "block_ff_dim": 2048},
        {"block_dim": 2048, "block_use_swiglu": True, "conv_dim": 2048, "conv_dim_out": 2048,
         "tie_embedding": True},
    ),
    "longcat_flash": (
        {"n_routed_experts": 8, "moe_topk": 2},
        {"attention_method": "MLA", "zero_expert_type": "identity"},
    ),
    "mimo_v2": (
        {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "v_head_dim": 16,
         "hybrid_layer_pattern": [0, 1], "moe_layer_freq": [0, 1], "sliding_window": 128,
         "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
         "vocab_size": 1000, "max_position_embeddings": 4096},
        {"attention_projection_layout": "fused_qkv", "attention_chunk_size": 128},
    ),
    "starcoder2": ({}, {"mlp_type": "default"}),
}  # fmt: skip


def read(model_type: str, **given: object) -> Model:
    return model_from_config({"model_type": model_type, **given}, name="read", where="read")


@pytest.mark.parametrize("model_type", WHOLE)
def test_a_published_file_counts_as_its_sizes_do(model_type: str) -> None:
    sizes, besides = WHOLE[model_type]
    bare, whole = read(model_type, **sizes), read(model_type, **sizes, **besides)
    assert whole.counted == "exact"
    assert whole.total_params == bare.total_params
    assert whole.cache_bytes(100_000) == bare.cache_bytes(100_000)


def test_deepseek_s_small_models_without_latent_attention_have_heads_of_the_usual_width() -> None:
    sizes = {
        "hidden_size": 1280, "num_attention_heads": 10, "num_key_value_heads": 10,
        "num_hidden_layers": 2, "n_routed_experts": 8, "num_experts_per_tok": 2,
        "kv_lora_rank": None, "q_lora_rank": None, "use_mla": False, "lm_head": True,
        "qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "v_head_dim": 0,
    }  # fmt: skip
    wrapped = {"language_config": {"model_type": "deepseek_v2", **sizes}}
    found = model_from_config({"model_type": "deepseek_vl_v2", **wrapped}, name="reads")
    assert found.attention.kv_elements == 2 * 1280


def test_an_embedding_and_a_head_are_one_by_each_key_that_says_so() -> None:
    lfm2 = {"full_attn_idxs": [2, 5], "vocab_size": 1000, "hidden_size": 256}
    assert not read("lfm2", **lfm2, tie_embedding=False).tied_embeddings
    assert read("lfm2", **lfm2, tie_embedding=True).tied_embeddings
    assert not read("qwen2_5_omni_text").tied_embeddings


def test_the_first_qwen_which_writes_its_feed_forward_twice_as_wide_is_not_counted() -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 8}
    with pytest.raises(NotCounted, match="model_type: 'qwen' is not a decoder"):
        read("qwen", **sizes, num_hidden_layers=2, vocab_size=1000)
