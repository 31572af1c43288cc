"""Published configurations and tensor names as those of transformers' own models."""

import re
from typing import Any

import pytest

from catalog.errors import BadFile
from catalog.from_hf import model_from_config
from catalog.model_table import MODELS
from servers.huggingface.diffusion.published import DENSE_NAMES, native, renaming
from servers.huggingface.diffusion.seeded import NAMES, published_config

# Of GSAI-ML/LLaDA-8B-Instruct and inclusionAI/LLaDA-MoE-7B-A1B-Instruct, what the sizes hang on.
LLADA = {
    "model_type": "llada",
    "d_model": 4096,
    "n_heads": 32,
    "n_kv_heads": 32,
    "n_layers": 32,
    "mlp_hidden_size": 12288,
    "embedding_size": 126464,
    "vocab_size": 126464,
    "max_sequence_length": 4096,
    "rope_theta": 500000.0,
    "mask_token_id": 126336,
    "eos_token_id": 126081,
}
LLADA_MOE = {
    "model_type": "llada",
    "vocab_size": 157184,
    "hidden_size": 2048,
    "dense_intermediate_size": 8192,
    "expert_intermediate_size": 1024,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 8192,
    "moe_layer_freq": [1] * 16,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "rope_theta": 50000,
}


def test_the_published_pair_is_a_llama_and_a_qwen3_moe_that_look_both_ways() -> None:
    dense, moe = native(LLADA, where="a"), native(LLADA_MOE, where="b")
    assert (dense.model_class, dense.mask_id) == ("LlamaForCausalLM", 126336)
    assert (moe.model_class, moe.mask_id) == ("Qwen3MoeForCausalLM", 156895)
    assert dense.config["intermediate_size"] == 12288
    assert (moe.config["head_dim"], moe.config["moe_intermediate_size"]) == (128, 1024)
    assert moe.config["norm_topk_prob"] is False
    assert dense.config["is_causal"] is moe.config["is_causal"] is False
    thetas = [each.config["rope_parameters"]["rope_theta"] for each in (dense, moe)]
    assert thetas == [500000.0, 50000.0]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model_type": "llama"}, "no LLaDA model"),
        ({**LLADA, "alibi": True}, "alibi = True"),
        ({**LLADA, "include_bias": True}, "include_bias"),
        ({**LLADA_MOE, "shared_expert_intermediate_size": 512}, "shared_expert"),
        ({key: value for key, value in LLADA.items() if key != "n_heads"}, "lacks 'n_heads'"),
    ],
)
def test_another_architecture_is_refused_not_guessed(config: dict[str, Any], told: str) -> None:
    with pytest.raises(BadFile, match=re.escape(told)):
        native(config, where="model")


def test_names_of_tensors_go_there_and_back() -> None:
    there = renaming(DENSE_NAMES)
    back = renaming((new, old) for old, new in DENSE_NAMES)
    for old, new in DENSE_NAMES:
        name = old.format(17) + ".weight"
        renamed = [re.sub(p, r, name) for p, r in there.items() if re.search(p, name)]
        assert renamed == [new.format(17) + ".weight"]
        returned = [re.sub(p, r, renamed[0]) for p, r in back.items() if re.search(p, renamed[0])]
        assert returned == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_seeded_models_published_configuration_is_its_catalog_row(name: str) -> None:
    row = MODELS[name]
    read = model_from_config(published_config(row), name=name, where=name)
    assert (read.total_params, read.active_params) == (row.total_params, row.active_params)
    assert (read.kind, read.max_context) == ("diffusion", row.max_context)


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_a_seeded_pair_has_equal_active_parameters_but_for_the_router(size: str) -> None:
    dense, moe = MODELS[f"{size}-llada"], MODELS[f"{size}-llada-moe"]
    assert moe.experts is not None
    router = moe.layers * (moe.hidden * moe.experts.count + 2 * moe.attention.head_dim)
    assert moe.active_params == dense.total_params + router
    assert router < 0.04 * dense.total_params
