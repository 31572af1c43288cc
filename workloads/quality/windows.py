"""A text as windows of tokens, as the perplexity of language models is measured."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog.errors import BadValue
from catalog.named_file import text_named

WINDOW_TOKENS = 1024
TEXT_TOKENS = 262_144
"""Window and text of «Navigating the Design Space of MoE LLM Inference Optimization», 3.2."""
LARGEST_TEXT_BYTES = 64_000_000
SAMPLE = "sample"


def read_text(source: str) -> str:
    """Read a text file, or the small one that ships for trying things out."""
    if source == SAMPLE:
        return files("workloads.quality").joinpath("sample.txt").read_text(encoding="utf-8")
    return text_named(Path(source), "text", most_bytes=LARGEST_TEXT_BYTES)


def check_text(source: str, *, window: int) -> None:
    """Refuse without a tokenizer what is too short by any: a token has a byte at least.

    One more than the bytes may come, where a tokenizer begins every text with a token of its own.
    """
    have = len(read_text(source).encode())
    if have + 1 < window:
        raise BadValue(
            "--text", f"{source}: {have} bytes", f"{window} tokens or more, or a smaller --window"
        )


def check_windows(*, window: int, limit: int) -> None:
    """Refuse sizes that no text of any length could be cut by."""
    if window < 2:
        raise BadValue("--window", window, "2 tokens or more: the first has nothing before it")
    if limit < window:
        raise BadValue("--tokens", limit, f"one window of {window} tokens or more")


def windows_of(tokens: Sequence[int], *, window: int, limit: int) -> NDArray[np.int32]:
    """Cut the first `limit` tokens into whole windows (W, L); what is left over is not used."""
    check_windows(window=window, limit=limit)
    used = np.asarray(tokens[:limit], dtype=np.int32)
    count = len(used) // window
    if not count:
        raise BadValue(
            "--text", f"{len(used)} tokens", f"{window} tokens or more, or a smaller --window"
        )
    return used[: count * window].reshape(count, window)
