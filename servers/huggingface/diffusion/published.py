"""The published LLaDA checkpoints as models that transformers knows, without their remote code.

LLaDA-8B (`model_type` llada) is a Llama whose attention looks both ways, LLaDA-MoE-7B a Qwen3-MoE
(per-head norms of queries and keys, no renormalised routing weights): same tensors, other names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from catalog.errors import BadFile

MASK_IDS = {"llada": 126336, "llada_moe": 156895}
"""Where the configuration names no mask token: the samplers published with the weights."""

# Of LLaDA-8B: as published, in transformers. {} is the layer. LLaDA-MoE has transformers' names.
DENSE_NAMES = (
    ("model.transformer.wte", "model.embed_tokens"),
    ("model.transformer.ln_f", "model.norm"),
    ("model.transformer.ff_out", "lm_head"),
    ("model.transformer.blocks.{}.q_proj", "model.layers.{}.self_attn.q_proj"),
    ("model.transformer.blocks.{}.k_proj", "model.layers.{}.self_attn.k_proj"),
    ("model.transformer.blocks.{}.v_proj", "model.layers.{}.self_attn.v_proj"),
    ("model.transformer.blocks.{}.attn_out", "model.layers.{}.self_attn.o_proj"),
    ("model.transformer.blocks.{}.ff_proj", "model.layers.{}.mlp.gate_proj"),
    ("model.transformer.blocks.{}.up_proj", "model.layers.{}.mlp.up_proj"),
    ("model.transformer.blocks.{}.ff_out", "model.layers.{}.mlp.down_proj"),
    ("model.transformer.blocks.{}.attn_norm", "model.layers.{}.input_layernorm"),
    ("model.transformer.blocks.{}.ff_norm", "model.layers.{}.post_attention_layernorm"),
)

# What the published models never use; a configuration that does is another architecture.
UNUSED: dict[str, dict[str, object]] = {
    "llada": {
        "include_bias": False,
        "include_qkv_bias": False,
        "alibi": False,
        "scale_logits": False,
        "input_emb_norm": False,
        "attention_layer_norm": False,
        "block_group_size": 1,
    },
    "llada_moe": {"attention_bias": False, "shared_expert_intermediate_size": None},
}


@dataclass(frozen=True, slots=True)
class TransformersModel:
    """Which of transformers' models a checkpoint is, and under which names it holds the tensors."""

    model_class: str
    config_class: str
    config: Mapping[str, Any]
    names: tuple[tuple[str, str], ...]
    mask_id: int

    @property
    def renaming(self) -> dict[str, str]:
        return renaming(self.names)


def renaming(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the pairs as patterns with their replacements."""
    return {
        "^" + re.escape(old).replace(r"\{\}", r"(\d+)") + r"\.": new.replace("{}", r"\1") + "."
        for old, new in names
    }


def native(config: Mapping[str, Any], *, where: str) -> TransformersModel:
    """Translate a published configuration; raise BadFile for what is none of the two."""
    kind = kind_of(config)
    if kind is None:
        named = config.get("model_type")
        raise BadFile(where, f"model_type {named!r} is no LLaDA model: --trust-remote-code runs it")
    for key, expected in UNUSED[kind].items():
        if config.get(key, expected) not in (expected, None):
            raise BadFile(where, f"{key} = {config[key]!r}: this LLaDA variant is not supported")
    try:
        return _dense(config) if kind == "llada" else _moe(config)
    except KeyError as error:
        raise BadFile(where, f"lacks {error}") from None


def kind_of(config: Mapping[str, Any]) -> str | None:
    if config.get("model_type") not in MASK_IDS:
        return None
    return "llada_moe" if "expert_intermediate_size" in config else "llada"


def _dense(config: Mapping[str, Any]) -> TransformersModel:
    translated = {
        "hidden_size": config["d_model"],
        "num_hidden_layers": config["n_layers"],
        "num_attention_heads": config["n_heads"],
        "num_key_value_heads": config.get("n_kv_heads") or config["n_heads"],
        "intermediate_size": config["mlp_hidden_size"],
        "vocab_size": config.get("embedding_size") or config["vocab_size"],
        "max_position_embeddings": config["max_sequence_length"],
        "tie_word_embeddings": config.get("weight_tying", False),
        **_common(config, theta=500000.0),
    }
    return TransformersModel(
        "LlamaForCausalLM", "LlamaConfig", translated, DENSE_NAMES, _mask(config, "llada")
    )


def _moe(config: Mapping[str, Any]) -> TransformersModel:
    heads = config["num_attention_heads"]
    translated = {
        "hidden_size": config["hidden_size"],
        "num_hidden_layers": config["num_hidden_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": config["num_key_value_heads"],
        "head_dim": config.get("head_dim") or config["hidden_size"] // heads,
        "intermediate_size": config.get("dense_intermediate_size") or 0,
        "moe_intermediate_size": config["expert_intermediate_size"],
        "num_experts": config["num_experts"],
        "num_experts_per_tok": config["num_experts_per_tok"],
        "norm_topk_prob": bool(config.get("norm_topk_prob", False)),
        "mlp_only_layers": [i for i, on in enumerate(config.get("moe_layer_freq") or ()) if not on],
        "vocab_size": config["vocab_size"],
        "max_position_embeddings": config["max_position_embeddings"],
        "tie_word_embeddings": config.get("tie_word_embeddings", False),
        "sliding_window": None,
        **_common(config, theta=50000.0),
    }
    mask = _mask(config, "llada_moe")
    return TransformersModel("Qwen3MoeForCausalLM", "Qwen3MoeConfig", translated, (), mask)


def _common(config: Mapping[str, Any], *, theta: float) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": float(config.get("rope_theta") or theta)}
    return {
        "rope_parameters": rope,
        "rms_norm_eps": config.get("rms_norm_eps") or 1e-5,
        "eos_token_id": config.get("eos_token_id"),
        "pad_token_id": config.get("pad_token_id"),
        "bos_token_id": None,
        "is_causal": False,
    }


def _mask(config: Mapping[str, Any], kind: str) -> int:
    given = config.get("mask_token_id")
    return int(given) if given is not None else MASK_IDS[kind]
