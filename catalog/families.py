"""How each `model_type` of Hugging Face differs from the plain decoder that the rest share.

What a `config.json` does not say (a bias that is always there, a norm) is a property of the
family's code; sources are the `modeling_*.py` files of Hugging Face transformers.
"""

from dataclasses import dataclass
from typing import Literal

from catalog.models import Kind

QkNorm = Literal["none", "head", "full"]


@dataclass(frozen=True, slots=True)
class Family:
    """The parts of an architecture that its config does not spell out."""

    bias_key: str = "attention_bias"
    bias_default: bool = False
    output_bias: bool = True
    """The output projection has a bias whenever query, key and value have one."""
    qk_norm: QkNorm = "none"
    sinks: bool = False
    every_other_windowed: bool = False
    expert_bias: bool = False
    router_bias: bool = False
    shared_gate: bool = False
    norms_per_layer: int = 2
    tied_default: bool = False
    kind: Kind = "autoregressive"


_QWEN2 = Family(bias_key="qkv_bias", bias_default=True, output_bias=False)

FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "mixtral": Family(),
    "qwen2": _QWEN2,
    "qwen2_moe": Family(
        bias_key="qkv_bias", bias_default=True, output_bias=False, shared_gate=True
    ),
    "qwen3": Family(qk_norm="head"),
    "qwen3_moe": Family(qk_norm="head"),
    "olmoe": Family(qk_norm="full"),
    "deepseek_v2": Family(),
    "deepseek_v3": Family(router_bias=True),
    "kimi_k2": Family(router_bias=True),
    "glm4_moe": Family(output_bias=False, router_bias=True),
    "gpt_oss": Family(
        bias_default=True,
        sinks=True,
        every_other_windowed=True,
        expert_bias=True,
        router_bias=True,
    ),
    "grok-1": Family(norms_per_layer=4),
    "llada": Family(bias_key="include_qkv_bias", kind="diffusion"),
    "llada_moe": Family(kind="diffusion"),
}

# Families under another model_type, told apart by their class.
ARCHITECTURES: dict[str, str] = {
    "Grok1ModelForCausalLM": "grok-1",
    "Grok1ForCausalLM": "grok-1",
    "LLaDAMoEModelLM": "llada_moe",
}

# A model_type that is not above: weights tie unless the config says no, as transformers assumes.
UNKNOWN = Family(tied_default=True)
