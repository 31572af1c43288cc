"""In what a family of models can differ from the plain decoder that the rest share.

What a `config.json` does not say (a bias that is always there, a norm, a gate) is a property of the
family's code; sources are the `modeling_*.py` files of Hugging Face transformers and of vLLM.
"""

from dataclasses import dataclass
from typing import Literal

from catalog.models import Kind

QkNorm = Literal["none", "head", "full"]
Gate = Literal["none", "head", "element"]
State = Literal["", "gated-delta", "kimi-delta", "lightning", "mamba", "mamba2", "convolution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The parts of an architecture that its config does not spell out."""

    bias_key: str = "attention_bias"
    bias_default: bool = False
    output_bias: bool = True
    """The output projection has a bias whenever query, key and value have one."""
    output_bias_key: str = ""
    """A key of its own, where the family has one."""
    qk_norm: QkNorm = "none"
    bare_qk_norm: bool = False
    """Its norm of queries and keys has no weights (Llama 4)."""
    gate: Gate = "none"
    gate_key: str = ""
    """The gate is there where this key says so; without a key it always is."""
    sinks: bool = False
    windowed_sinks: bool = False
    full_every: int = 1
    """Without a list, each so-manieth layer sees the whole context and the rest their window;
    1: all do, 0: none does."""
    windowed_heads_apart: bool = False
    """Windowed layers have heads of their own number, which the config must say (Step-3.5)."""
    windowed_kv_factor: int = 1
    """KV heads of windowed layers for each of the others', where the config leaves it out."""
    state: State = ""
    """What layers called linear, mamba or conv are."""
    attention_every: int = 0
    """Without a list, each so-manieth layer is attention and the rest keep a state."""
    beside: bool = False
    """Every layer has attention and a state side by side."""
    short_convolutions: bool = False
    """Keys, values and both parts of a layer pass a convolution of a few taps (Inkling)."""
    global_head_dim: int = 0
    """Width of a head in layers that see the whole context, where the config leaves it out."""
    dense_is_shared: bool = False
    """Layers without experts are as wide as the shared part (Granite 4)."""
    twofold: bool = False
    """A layer has two attentions and two dense parts beside its experts (LongCat)."""
    dense_first: int = 0
    """Without a word on which layers hold experts, so many first ones do not."""
    ignored: tuple[str, ...] = ()
    """Beginnings of keys that the family's code takes no size from."""
    matrices: int = 3
    """Of a feed-forward part: 3 with a gate, 2 without."""
    mlp_bias_key: str = "mlp_bias"
    mlp_bias_default: bool = False
    expert_bias: bool = False
    router_bias: bool = False
    router_bias_key: str = ""
    shared_gate: bool = False
    always_shared: bool = False
    """A shared expert as wide as a routed one that no key names (Llama 4)."""
    norms_per_layer: int = 2
    norm_bias: bool = False
    final_norm: int = 1
    """Vectors of the hidden width in the final norm."""
    moe_norms: int = 0
    """Norms that only layers with experts have."""
    norms_beside: int = 0
    """Norms that only layers with a dense part beside their experts have."""
    layer_small: int = 0
    """Other numbers that each layer has."""
    head_bias_key: str = ""
    head_bias: bool = False
    embedding_norm: bool = False
    tied_default: bool = False
    kind: Kind = "autoregressive"
    compared: bool = True
    """Its counts were compared with the family's own code."""
