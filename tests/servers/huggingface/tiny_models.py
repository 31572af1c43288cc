"""Tiny models: drawn, and one that has learned something, so that it can lose by a technique."""

from pathlib import Path
from typing import Any

import numpy as np

from workloads.quality.windows import read_text, windows_of


def tiny_model(family: str, **changes: Any) -> Any:
    """Two layers of eight small experts, drawn narrow enough that errors do not explode."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        hidden_size=128,
        intermediate_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=512,
        num_experts_per_tok=2,
        initializer_range=0.05,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        num_hidden_layers=2,
        **changes,
    )
    return getattr(transformers, f"{family}ForCausalLM")(config).eval()


def learn(folder: Path) -> str:
    """Write a tiny Mixtral that has seen the text that ships a few times."""
    import torch

    from servers import tiny_checkpoint as tiny

    model, tokenizer = tiny_model("Mixtral", num_local_experts=8), tiny.tokenizer(512)
    ids = tokenizer(read_text("sample"), add_special_tokens=False)["input_ids"]
    windows = torch.tensor(windows_of(ids, window=128, limit=4096).astype(np.int64))
    adam = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(40):
        adam.zero_grad()
        model(windows, labels=windows).loss.backward()
        adam.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
