"""What one engine step computes, in counts that a cost model can price."""

from dataclasses import dataclass
from typing import Literal

Phase = Literal["prefill", "decode", "mixed", "dummy"]


@dataclass(frozen=True, slots=True)
class StepLoad:
    """One data-parallel replica's part of a step; every field is a count.

    A query attends to itself and everything before it, so a decode step at context c reads c + 1
    cache entries; a prefill chunk of n tokens after b others reads b + n and scores
    n b + n (n + 1) / 2 query-key pairs. `windowed_*` hold the same for layers with a window.
    """

    prefill_tokens: int = 0
    decode_sequences: int = 0
    prefill_sequences: int = 0
    sampled: int = 0
    """Sequences whose next token comes out of this step, so that need logits."""
    kv_tokens: int = 0
    pairs: int = 0
    windowed_kv_tokens: int = 0
    windowed_pairs: int = 0
    prompt_pairs: int = 0
    """Of `pairs`, those of prompts' chunks."""
    windowed_prompt_pairs: int = 0
    prefill_context: int = 0
    """Entries before the prompts' chunks, in the cache already."""
    windowed_growth: int = 0
    """Decode sequences whose window is not full: each reads one more entry next step."""

    @property
    def tokens(self) -> int:
        return self.prefill_tokens + self.decode_sequences

    @property
    def sequences(self) -> int:
        return self.prefill_sequences + self.decode_sequences

    @property
    def phase(self) -> Phase:
        if self.tokens == 0:
            return "dummy"
        if self.prefill_tokens == 0:
            return "decode"
        return "mixed" if self.decode_sequences else "prefill"


# A rank without work joins the collectives of the others with one token of padding.
DUMMY = StepLoad()


def decode_load(batch: int, context: int, *, window: int | None = None) -> StepLoad:
    """Return the load of a decode step in which every sequence has `context` tokens before it."""
    reach = context + 1 if window is None else min(context + 1, window)
    return StepLoad(
        decode_sequences=batch,
        sampled=batch,
        kv_tokens=batch * (context + 1),
        pairs=batch * (context + 1),
        windowed_kv_tokens=batch * reach,
        windowed_pairs=batch * reach,
        windowed_growth=batch if window is not None and context + 1 < window else 0,
    )


def prefill_load(
    batch: int, tokens: int, *, context: int = 0, window: int | None = None
) -> StepLoad:
    """Return the load of prefilling `tokens` new tokens after `context` cached ones, `batch` times.

    All of a prompt at once, so each sequence gives its first token.
    """
    reach = context if window is None else min(context, window)
    return StepLoad(
        prefill_tokens=batch * tokens,
        prefill_sequences=batch,
        sampled=batch,
        kv_tokens=batch * (context + tokens),
        pairs=batch * chunk_pairs(tokens, context),
        prefill_context=batch * context,
        windowed_kv_tokens=batch * (reach + tokens),
        windowed_pairs=batch * chunk_pairs(tokens, context, window=window),
        prompt_pairs=batch * chunk_pairs(tokens, context),
        windowed_prompt_pairs=batch * chunk_pairs(tokens, context, window=window),
    )


def chunk_pairs(tokens: int, before: int, *, window: int | None = None) -> int:
    """Return Σ min(before + i, window) for i = 1 … tokens: the pairs causal attention scores."""
    growing = tokens if window is None else max(0, min(tokens, window - before))
    full = 0 if window is None else (tokens - growing) * window
    return growing * before + growing * (growing + 1) // 2 + full
