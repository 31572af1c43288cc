"""The tiny Mixtral as GGUF files, in single precision and in 8 bits."""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

MISSING = [
    name
    for name in ("torch", "transformers", "gguf", "xllamacpp")
    if importlib.util.find_spec(name) is None
]
Weights = NDArray[np.float32]
EXPERTS = {"w1": "ffn_gate_exps", "w2": "ffn_down_exps", "w3": "ffn_up_exps"}
LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "block_sparse_moe.gate": "ffn_gate_inp",
}


@dataclass(frozen=True)
class Files:
    """The same weights three times: as transformers reads them, and as GGUF in 32 and 8 bits."""

    checkpoint: Path
    f32: Path
    q8: Path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")
    from servers.tiny_checkpoint import checkpoint

    made, folder = checkpoint("tiny-mixtral"), tmp_path_factory.mktemp("gguf")
    return Files(
        made,
        write_mixtral(made, folder / "f32.gguf", quantised=False),
        write_mixtral(made, folder / "q8.gguf", quantised=True),
    )


def write_mixtral(checkpoint: Path, file: Path, *, quantised: bool) -> Path:
    """Write a Mixtral checkpoint of transformers as GGUF, its matrices in q8_0 if asked."""
    import gguf

    config = json.loads((checkpoint / "config.json").read_text())
    writer = gguf.GGUFWriter(file, "llama")
    kind = gguf.GGMLQuantizationType.Q8_0
    quantise = kind if quantised else gguf.GGMLQuantizationType.F32
    describe(writer, config)
    writer.add_file_type(
        gguf.LlamaFileType.MOSTLY_Q8_0 if quantised else gguf.LlamaFileType.ALL_F32
    )
    tokens(writer, checkpoint, config["vocab_size"])
    for name, weights in tensors(checkpoint, config):
        # Norms and routers stay: llama.cpp's own converter leaves them in single precision.
        if weights.ndim == 1 or "gate_inp" in name or not quantised:
            writer.add_tensor(name, weights)
        else:
            writer.add_tensor(name, gguf.quants.quantize(weights, quantise), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def describe(writer: Any, config: dict[str, Any]) -> None:
    writer.add_name("tiny-mixtral")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_expert_count(config["num_local_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])


def tokens(writer: Any, checkpoint: Path, vocab: int) -> None:
    """The checkpoint's own byte-level BPE, whose filler tokens are of the user's kind."""
    import gguf

    document = json.loads((checkpoint / "tokenizer.json").read_text())
    by_id = {number: text for text, number in document["model"]["vocab"].items()}
    added = {entry["id"]: entry for entry in document["added_tokens"]}
    by_id |= {number: entry["content"] for number, entry in added.items()}
    kinds = [gguf.TokenType.NORMAL] * vocab
    for number, entry in added.items():
        kinds[number] = gguf.TokenType.CONTROL if entry["special"] else gguf.TokenType.USER_DEFINED
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in
              document["model"]["merges"]]  # fmt: skip
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([by_id[number] for number in range(vocab)])
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


def tensors(checkpoint: Path, config: dict[str, Any]) -> Iterator[tuple[str, Weights]]:
    """Yield the weights under GGUF's names; queries and keys in its order of rotation."""
    from safetensors import safe_open

    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    with safe_open(checkpoint / "model.safetensors", "np") as held:
        yield "token_embd.weight", held.get_tensor("model.embed_tokens.weight")
        yield "output_norm.weight", held.get_tensor("model.norm.weight")
        yield "output.weight", held.get_tensor("lm_head.weight")
        for layer in range(config["num_hidden_layers"]):
            old, new = f"model.layers.{layer}.", f"blk.{layer}."
            for name, short in LAYER.items():
                yield f"{new}{short}.weight", held.get_tensor(f"{old}{name}.weight")
            for letter, count in (("q", heads), ("k", kv_heads)):
                weights = held.get_tensor(f"{old}self_attn.{letter}_proj.weight")
                yield f"{new}attn_{letter}.weight", rotated(weights, count)
            for name, short in EXPERTS.items():
                stacked = [
                    held.get_tensor(f"{old}block_sparse_moe.experts.{expert}.{name}.weight")
                    for expert in range(config["num_local_experts"])
                ]
                yield f"{new}{short}.weight", np.stack(stacked)


def rotated(weights: Weights, heads: int) -> Weights:
    """Interleave the halves of each head: llama.cpp rotates neighbours, transformers halves."""
    rows, columns = weights.shape
    halves = weights.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))
