"""Tiny MoE checkpoints with seeded random weights: every real engine, no download.

    python -m servers.tiny_checkpoint NAME DIRECTORY

The shapes are the catalog's rows `tiny-olmoe`, `tiny-mixtral` and `tiny-qwen`. The weights are
drawn wide (standard deviation 0.3), so that greedy decoding does not settle on one token. Those of
the LEARNED ones are trained, by a module of their own (`servers/huggingface/learned.py`).
"""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from catalog.errors import MissingExtra, ServerStartFailed
from catalog.inside import check_own
from catalog.models import GroupedQueryAttention, Model
from catalog.python import python_module

VERSION = 2
SEED = 0
CONTEXT = 2048
TEXT = "the expert that a token is routed to is one of many, and most of them rest meanwhile. "
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
LEARNED = ("tiny-mixtral-learned", "tiny-mixtral-distilled")
NAMES = ("tiny-olmoe", "tiny-mixtral", "tiny-qwen", *LEARNED)
SEEDED_MODULE, LEARNED_MODULE = "servers.tiny_checkpoint", "servers.huggingface.learned"


def folder_of(name: str) -> Path:
    """Return where a checkpoint is, or will be once it is made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "moeserve" / "models" / f"v{VERSION}" / name


def checkpoint(name: str, *, python: str = sys.executable, module: str = "") -> Path:
    """Return the checkpoint's directory, made on first use by a module with that Python."""
    folder = folder_of(name)
    module = module or (LEARNED_MODULE if name in LEARNED else SEEDED_MODULE)
    if (folder / "config.json").exists():
        return check_own(folder)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder.with_name(f".{name}.{uuid.uuid4().hex}")
    made = subprocess.run(
        [*python_module(module, python=python), name, str(temporary)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        shutil.rmtree(temporary, ignore_errors=True)
        if "ModuleNotFoundError" in made.stderr:
            raise MissingExtra(f"the checkpoint {name}", "hf")
        raise ServerStartFailed(f"cannot make {name}", stage="model", log_tail=made.stderr[-2000:])
    try:
        temporary.rename(folder)
    except OSError:  # another process was first: its files are the same
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def make(model: Model, folder: Path) -> None:
    """Write configuration, weights and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(SEED)
    weights = AutoModelForCausalLM.from_config(config_of(model), dtype=torch.float32)
    weights.save_pretrained(folder)
    tokenizer(model.vocab).save_pretrained(folder)


def config_of(model: Model, *, initializer_range: float = 0.3) -> Any:
    """Return a catalog row as transformers' configuration."""
    import transformers

    assert isinstance(model.attention, GroupedQueryAttention)
    assert model.experts is not None
    common = {
        "hidden_size": model.hidden,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.attention.heads,
        "num_key_value_heads": model.attention.kv_heads,
        "vocab_size": model.vocab,
        "max_position_embeddings": CONTEXT,
        "initializer_range": initializer_range,
        "tie_word_embeddings": model.tied_embeddings,
        "num_experts_per_tok": model.experts.top_k,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "dtype": "float32",
    }
    count, width = model.experts.count, model.experts.width
    if model.name.startswith("tiny-mixtral"):
        return transformers.MixtralConfig(
            num_local_experts=count, intermediate_size=width, sliding_window=None, **common
        )
    if model.name == "tiny-qwen":
        return transformers.Qwen2MoeConfig(
            num_experts=count,
            moe_intermediate_size=width,
            shared_expert_intermediate_size=model.experts.shared_width,
            intermediate_size=width,
            **common,
        )
    return transformers.OlmoeConfig(num_experts=count, intermediate_size=width, **common)


def tokenizer(vocab: int) -> Any:
    """Byte-level BPE: 256 bytes, a few merges, then filler tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator([TEXT], trainer)
    missing = vocab - built.get_vocab_size()
    built.add_tokens([f"<filler-{number}>" for number in range(missing)])
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        eos_token="<eos>",
        pad_token="<eos>",
        model_max_length=CONTEXT,
        chat_template=CHAT_TEMPLATE,
    )


if __name__ == "__main__":
    from catalog.model_table import MODELS

    make(MODELS[sys.argv[1]], Path(sys.argv[2]))
