"""Seeded dense and MoE diffusion models in the layout of the published checkpoints, no network.

    python -m servers.huggingface.diffusion.seeded NAME DIRECTORY

The shapes are the catalog's rows. `tiny-*` are for trying things; `small-*` are large enough that
matrix products matter and small enough for two cores. A pair has equal active parameters.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.models import GroupedQueryAttention, Model
from servers import tiny_checkpoint as tiny
from servers.huggingface.diffusion.published import DENSE_NAMES, native, renaming

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("tiny-llada", "tiny-llada-moe", "small-llada", "small-llada-moe")
WIDE = 0.3
"""Standard deviation of the weights at hidden size 128, narrower in proportion to its root.

So wide, greedy decoding settles on no one token.
"""
MODULE = "servers.huggingface.diffusion.seeded"


def checkpoint(name: str) -> Path:
    """Return the checkpoint's directory, made on first use."""
    return tiny.checkpoint(name, module=MODULE)


def published_config(model: Model) -> dict[str, Any]:
    """Write a catalog row as the publisher would: the inverse of `published.native`."""
    attention = model.attention
    assert isinstance(attention, GroupedQueryAttention)
    common = {
        "model_type": "llada",
        "vocab_size": model.vocab,
        "mask_token_id": model.vocab - 1,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "torch_dtype": model.weight_dtype,
    }
    if model.experts is None:
        return common | {
            "architectures": ["LLaDAModelLM"],
            "d_model": model.hidden,
            "n_heads": attention.heads,
            "n_kv_heads": attention.kv_heads,
            "n_layers": model.layers,
            "mlp_hidden_size": model.dense_width,
            "embedding_size": model.vocab,
            "max_sequence_length": model.max_context,
            "include_bias": False,
            "include_qkv_bias": False,
            "weight_tying": model.tied_embeddings,
        }
    return common | {
        "architectures": ["LLaDAMoEModelLM"],
        "hidden_size": model.hidden,
        "num_hidden_layers": model.layers,
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.kv_heads,
        "expert_intermediate_size": model.experts.width,
        "shared_expert_intermediate_size": None,
        "num_experts": model.experts.count,
        "num_experts_per_tok": model.experts.top_k,
        "moe_layer_freq": [1] * model.layers,
        "max_position_embeddings": model.max_context,
        "qk_layernorm": True,
        "tie_word_embeddings": model.tied_embeddings,
    }


def build(model: Model) -> Any:
    """Return transformers' module with seeded random weights."""
    import torch
    import transformers

    wanted = native(published_config(model), where=model.name)
    torch.manual_seed(tiny.SEED)
    spread = WIDE * (128 / model.hidden) ** 0.5
    config = getattr(transformers, wanted.config_class)(**wanted.config, initializer_range=spread)
    return getattr(transformers, wanted.model_class)(config).eval()


def make(model: Model, folder: Path) -> None:
    """Write configuration, weights under their published names, and tokenizer."""
    from safetensors.torch import save_file

    tensors = _published_tensors(build(model).state_dict(), dense=model.experts is None)
    folder.mkdir(parents=True)
    save_file(dict(tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(published_config(model), indent=2))
    tiny.tokenizer(model.vocab).save_pretrained(folder)


def _published_tensors(state: "Mapping[str, Tensor]", *, dense: bool) -> "list[tuple[str, Tensor]]":
    """Rename, and take stacked experts apart: gate and up (E, 2I, H), down (E, H, I)."""
    found: list[tuple[str, Tensor]] = []
    for name, tensor in state.items():
        if name.endswith(".experts.gate_up_proj"):
            stem = name.removesuffix(".gate_up_proj")
            for expert, both in enumerate(tensor):
                gate, up = both.chunk(2)
                found.append((f"{stem}.{expert}.gate_proj.weight", gate.clone()))
                found.append((f"{stem}.{expert}.up_proj.weight", up.clone()))
        elif name.endswith(".experts.down_proj"):
            stem = name.removesuffix(".down_proj")
            found += [
                (f"{stem}.{expert}.down_proj.weight", each.clone())
                for expert, each in enumerate(tensor)
            ]
        else:
            found.append((_published_name(name) if dense else name, tensor))
    return found


def _published_name(name: str) -> str:
    for pattern, replacement in renaming((new, old) for old, new in DENSE_NAMES).items():
        name, found = re.subn(pattern, replacement, name)
        if found:
            break
    return name


if __name__ == "__main__":
    from catalog.model_table import MODELS

    make(MODELS[sys.argv[1]], Path(sys.argv[2]))
