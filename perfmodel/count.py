"""From the sequences of a step to the counts a cost model prices."""

from collections.abc import Sequence as Items

from perfmodel.load import StepLoad, chunk_pairs
from perfmodel.sequence import Sequence

Work = Items[tuple[Sequence, int]]


def count_load(work: Work, window: int | None) -> StepLoad:
    """Count one step's work; `window` is that of the model's windowed layers, if it has any."""
    decoding = [sequence for sequence, tokens in work if _decodes(sequence, tokens)]
    if len(decoding) == len(work):
        return _count_decode(decoding, window)
    chunks = [(sequence, n) for sequence, n in work if not _decodes(sequence, n)]
    decode = _count_decode(decoding, window)
    before = [(sequence.computed, n) for sequence, n in chunks]
    reach = [(c if window is None else min(c, window), n) for c, n in before]
    ended = sum(sequence.computed + n == sequence.known for sequence, n in chunks)
    pairs = sum(chunk_pairs(n, c) for c, n in before)
    near = sum(chunk_pairs(n, c, window=window) for c, n in before)
    return StepLoad(
        prefill_tokens=sum(n for _, n in chunks),
        decode_sequences=len(decoding),
        prefill_sequences=len(chunks),
        sampled=len(decoding) + ended,
        kv_tokens=decode.kv_tokens + sum(c + n for c, n in before),
        pairs=decode.pairs + pairs,
        prefill_context=sum(c for c, _ in before),
        windowed_kv_tokens=decode.windowed_kv_tokens + sum(c + n for c, n in reach),
        windowed_pairs=decode.windowed_pairs + near,
        prompt_pairs=pairs,
        windowed_prompt_pairs=near,
    )


def _decodes(sequence: Sequence, tokens: int) -> bool:
    return tokens == 1 and sequence.produced > 0 and sequence.known - sequence.computed == 1


def _count_decode(sequences: Items[Sequence], window: int | None) -> StepLoad:
    count = len(sequences)
    reads = sum([sequence.computed for sequence in sequences]) + count
    if window is None:
        windowed, growing = reads, 0
    else:
        windowed = sum(min(sequence.computed + 1, window) for sequence in sequences)
        growing = sum(sequence.computed + 1 < window for sequence in sequences)
    return StepLoad(
        decode_sequences=count,
        sampled=count,
        kv_tokens=reads,
        pairs=reads,
        windowed_kv_tokens=windowed,
        windowed_pairs=windowed,
        windowed_growth=growing,
    )
