"""Counts against transformers' own modules, instantiated without memory on torch's meta device.

What is counted is what a checkpoint stores: parameters, and buffers that are saved with them.
"""

from functools import cache
from types import ModuleType
from typing import Any

import pytest

from catalog.from_hf import model_from_config
from catalog.model_table import model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

QWEN3_30B = {"num_hidden_layers": 48, "head_dim": 128}
QWEN3_235B = {
    "num_hidden_layers": 94,
    "head_dim": 128,
    "hidden_size": 4096,
    "num_attention_heads": 64,
    "moe_intermediate_size": 1536,
}
TINY = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 512,
    "intermediate_size": 64,
    "max_position_embeddings": 2048,
}
TINY_QWEN = {**TINY, "num_key_value_heads": 4, "moe_intermediate_size": 64}
# Class, what differs from its defaults, and the catalog's row.
ROWS = [
    ("MixtralConfig", {}, "Mixtral-8x7B"),
    ("MixtralConfig", {"num_local_experts": 4}, "Mixtral-4x7B"),
    ("Qwen2MoeConfig", {}, "Qwen1.5-MoE-A2.7B"),
    ("OlmoeConfig", {"intermediate_size": 1024}, "OLMoE-1B-7B"),
    ("Qwen3MoeConfig", QWEN3_30B, "Qwen3-30B-A3B"),
    ("Qwen3MoeConfig", QWEN3_235B, "Qwen3-235B-A22B"),
    ("DeepseekV3Config", {}, "DeepSeek-V3"),
    ("GptOssConfig", {"num_hidden_layers": 24, "num_local_experts": 32}, "gpt-oss-20b"),
    ("GptOssConfig", {}, "gpt-oss-120b"),
    ("OlmoeConfig", TINY, "tiny-olmoe"),
    ("MixtralConfig", {**TINY, "num_key_value_heads": 2}, "tiny-mixtral"),
    ("Qwen2MoeConfig", {**TINY_QWEN, "shared_expert_intermediate_size": 128}, "tiny-qwen"),
]
# Families and corners that no row of the catalog shows.
CORNERS = [
    ("LlamaConfig", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 8}),
    ("LlamaConfig", {"tie_word_embeddings": True, "head_dim": 64}),
    ("MistralConfig", {}),
    ("Qwen2Config", {"num_hidden_layers": 4}),
    ("Qwen3Config", {"num_hidden_layers": 4, "num_key_value_heads": 8}),
    ("Qwen3MoeConfig", {"num_hidden_layers": 6, "decoder_sparse_step": 2}),
    ("Qwen2MoeConfig", {"num_hidden_layers": 6, "mlp_only_layers": [0, 3]}),
    ("OlmoeConfig", {"num_hidden_layers": 2, "num_key_value_heads": 4}),
    ("DeepseekV3Config", {"num_hidden_layers": 6, "q_lora_rank": None}),
    (
        "DeepseekV2Config",
        {"num_hidden_layers": 6, "first_k_dense_replace": 1, **{"num_experts_per_tok": 6}},
    ),
    ("Glm4MoeConfig", {"head_dim": 128, "use_qk_norm": True, "attention_bias": True}),
]
SWITCH_C = {
    "d_model": 2080,
    "d_ff": 6144,
    "num_heads": 30,
    "num_layers": 15,
    "num_decoder_layers": 15,
    "num_sparse_encoder_layers": 15,
    "num_sparse_decoder_layers": 15,
}


@cache
def transformers() -> ModuleType:
    """Import it only when a test runs, since it takes seconds."""
    pytest.importorskip("torch", reason="transformers builds its modules with torch")
    module: ModuleType = pytest.importorskip("transformers", reason="its modules are counted")
    return module


def stored(config: Any) -> int:
    """Return how many numbers a checkpoint of this config holds, tied ones once."""
    import torch

    with torch.device("meta"):
        if config.model_type == "switch_transformers":
            module = transformers().SwitchTransformersForConditionalGeneration(config)
        else:
            module = transformers().AutoModelForCausalLM.from_config(config)
    saved = module.state_dict().keys()
    buffers = (buffer for name, buffer in module.named_buffers() if name in saved)
    return sum(tensor.numel() for tensor in (*module.parameters(), *buffers))


def config_of(class_name: str, differences: dict[str, Any]) -> Any:
    return getattr(transformers(), class_name)(**differences)


@pytest.mark.parametrize(("class_name", "differences", "name"), ROWS)
def test_a_row_counts_exactly_what_transformers_stores(
    class_name: str, differences: dict[str, Any], name: str
) -> None:
    assert model(name).total_params == stored(config_of(class_name, differences))


@pytest.mark.parametrize(("class_name", "differences", "name"), ROWS)
def test_a_row_equals_the_model_its_own_config_describes(
    class_name: str, differences: dict[str, Any], name: str
) -> None:
    config = config_of(class_name, differences).to_dict()
    read, row = model_from_config(config, name=name), model(name)
    assert (read.layers, read.hidden, read.vocab) == (row.layers, row.hidden, row.vocab)
    assert read.attention == row.attention
    assert read.experts == row.experts
    assert read.tied_embeddings == row.tied_embeddings


@pytest.mark.parametrize(("class_name", "differences"), CORNERS)
def test_a_config_counts_exactly_what_transformers_stores(
    class_name: str, differences: dict[str, Any]
) -> None:
    config = config_of(class_name, differences)
    read = model_from_config(config.to_dict(), name="corner")
    assert read.total_params == stored(config)


@pytest.mark.parametrize(
    "differences",
    [
        {**SWITCH_C, "num_experts": 2},
        {"num_experts": 4},
        {"num_experts": 4, "num_sparse_encoder_layers": 6},
        {"num_sparse_encoder_layers": 0, "num_sparse_decoder_layers": 0},
    ],
)
def test_switch_transformers_count_exactly_what_transformers_stores(
    differences: dict[str, Any],
) -> None:
    config = config_of("SwitchTransformersConfig", differences)
    assert model_from_config(config.to_dict(), name="switch").total_params == stored(config)


def test_switch_c_is_its_thin_twin_with_more_experts() -> None:
    thin = model_from_config(
        {"model_type": "switch_transformers", "d_kv": 64, "vocab_size": 32128, **SWITCH_C}
        | {"num_experts": 2},
        name="thin",
    )
    row = model("Switch-C-2048")
    assert thin.experts is not None
    per_expert = thin.experts.params_per_expert(2080) + 2080
    assert row.total_params == thin.total_params + 30 * (2048 - 2) * per_expert
