"""What prompts are made of: pieces that are shared or not, and what a prefix cache can see of them.

A prompt is a chain of *segments*, each a key and a length: two prompts with equal leading segments
share just those tokens and no more, whatever the vocabulary. So what is shared is known without a
single token (a simulated prefix cache needs no more), and the tokens of a key are drawn from a
generator of its own, the same in every prompt. Prompts of files are kept as they are.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]
Message = Mapping[str, object]
Prompt = TokenIds | str | tuple[Message, ...]
"""Token ids, a text, or the messages of a chat."""
LITERAL_BLOCK = 16
ODD = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio: its multiples lie far apart modulo 2**64."""
UNKNOWN = -1
"""Length of a text that nobody has tokenised, in columns of lengths."""


def length_of(prompt: Prompt) -> int | None:
    """Return a prompt's tokens; None for text that nobody has tokenised."""
    return len(prompt) if isinstance(prompt, np.ndarray) else None


@dataclass(frozen=True, slots=True)
class Segment:
    """`tokens` tokens of the piece of text that `key` names, from its beginning."""

    key: int
    tokens: int


@dataclass(frozen=True)
class Content:
    """The prompts of `len(content)` requests.

    Request i is `literals[i]` where a file gave its prompt, else the chain `chains[i]`.
    """

    chains: Sequence[tuple[Segment, ...]]
    literals: Mapping[int, Prompt] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.chains)

    @property
    def counted(self) -> bool:
        """Whether every prompt is in tokens, so that what they share is known."""
        return all(length_of(prompt) is not None for prompt in self.literals.values())

    def tokens_of(self, request: int) -> int | None:
        """Return the prompt's length in tokens; None for text that nobody has tokenised."""
        literal = self.literals.get(request)
        if literal is None:
            return sum(segment.tokens for segment in self.chains[request])
        return length_of(literal)

    def blocks(self, request: int, block_tokens: int) -> tuple[Hashable, ...]:
        """Return what identifies each full block of `block_tokens` tokens of a prompt.

        As in vLLM a block stands for itself and all before it: two prompts have equal leading
        entries exactly as far as their tokens agree in whole blocks. A text that nobody has
        tokenised has none.
        """
        literal = self.literals.get(request)
        if literal is None:
            return tuple(_blocks_of(self.chains[request], block_tokens))
        if not isinstance(literal, np.ndarray):
            return ()
        whole = len(literal) // block_tokens * block_tokens
        pieces = literal[:whole].astype("<i4").reshape(-1, block_tokens)
        return tuple(_chained(piece.tobytes() for piece in pieces))

    def shareable_tokens(self) -> int:
        """Prompt tokens that a cache of unlimited size, in order of the requests, need not compute.

        Token by token, of ids from a file by blocks of 16; never a prompt's last token, whose
        logits are needed. Whole blocks, replicas, eviction and requests at the same time can only
        have fewer hits.
        """
        seen: dict[tuple[int, int], tuple[int, int]] = {}
        blocks: set[Hashable] = set()
        shared = 0
        for request, chain in enumerate(self.chains):
            found = _repeated(chain, seen) if chain else self._repeated_blocks(request, blocks)
            shared += max(0, min(found, (self.tokens_of(request) or 0) - 1))
        return shared

    def _repeated_blocks(self, request: int, seen: set[Hashable]) -> int:
        blocks = self.blocks(request, LITERAL_BLOCK)
        hits = next((i for i, each in enumerate(blocks) if each not in seen), len(blocks))
        seen.update(blocks)
        return hits * LITERAL_BLOCK

    def prompts(self, seed: int, vocab: int) -> list[Prompt]:
        """Write every prompt out, in ids below `vocab`; the same for the same seed."""
        writer = _Writer(seed, vocab, self._shared)
        return [
            literal if (literal := self.literals.get(i)) is not None else writer.write(chain)
            for i, chain in enumerate(self.chains)
        ]

    @cached_property
    def _shared(self) -> frozenset[int]:
        """Keys that stand in more than one place."""
        once: set[int] = set()
        more: set[int] = set()
        for chain in self.chains:
            for segment in chain:
                (more if segment.key in once else once).add(segment.key)
        return frozenset(more)


class _Writer:
    """Draws the tokens of keys; those that come again are kept."""

    def __init__(self, seed: int, vocab: int, shared: frozenset[int]) -> None:
        self._seed, self._vocab, self._shared = seed, vocab, shared
        self._first = np.random.default_rng([seed, 0]).permutation(vocab).astype(np.int32)
        self._kept: dict[int, TokenIds] = {}

    def write(self, chain: tuple[Segment, ...]) -> TokenIds:
        parts = [self._tokens(segment) for segment in chain]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _tokens(self, segment: Segment) -> TokenIds:
        kept = self._kept.get(segment.key)
        if kept is None or len(kept) < segment.tokens:
            kept = self._draw(segment)
            if segment.key in self._shared:
                self._kept[segment.key] = kept
        return kept[: segment.tokens]

    def _draw(self, segment: Segment) -> TokenIds:
        """Draw a key's first tokens: more of them begin with the same.

        The first is another one for each of `vocab` keys, so that prompts which part ways do so at
        once, not only where chance lets them.
        """
        rng = np.random.default_rng([self._seed, 1, segment.key])
        drawn = rng.integers(0, self._vocab, segment.tokens, dtype=np.int32)
        drawn[0] = self._first[segment.key % self._vocab]
        return drawn


def _repeated(chain: tuple[Segment, ...], seen: dict[tuple[int, int], tuple[int, int]]) -> int:
    """Return how many of a chain's leading tokens have been seen, and remember the rest.

    `seen` is a tree: from a node and a key to the next node and the most tokens of the key there.
    """
    node, shared, alike = 0, 0, True
    for segment in chain:
        step = (node, segment.key)
        following, most = seen.get(step, (len(seen) + 1, 0))
        if alike:
            shared += min(most, segment.tokens)
        alike = alike and most >= segment.tokens
        seen[step] = following, max(most, segment.tokens)
        node = following
    return shared


def _blocks_of(chain: tuple[Segment, ...], block_tokens: int) -> list[int]:
    """Return 64 bits for each full block, from what is before it and its place in its segment.

    Blocks within a segment count up from a hash of all that is before it, so that long prompts take
    no hashing of their own; one across segments is hashed from its pieces (key, from, to).
    """
    found: list[int] = []
    held: list[object] = []
    before, room = 0, block_tokens
    for segment in chain:
        start = 0
        if held:
            start = min(segment.tokens, room)
            held.append((segment.key, 0, start))
            room -= start
            if not room:
                found.append(hash(tuple(held)))
                held = []
        if not held:
            whole, rest = divmod(segment.tokens - start, block_tokens)
            base = hash((before, segment.key, start))
            found += [(base + ODD * block) % 2**64 for block in range(whole)]
            if rest:
                held = [before, (segment.key, segment.tokens - rest, segment.tokens)]
                room = block_tokens - rest
        before = hash((before, segment.key, segment.tokens))
    return found


def _chained(pieces: Iterator[bytes]) -> Iterator[bytes]:
    digest = b""
    for piece in pieces:
        digest = blake2b(digest + piece, digest_size=16).digest()
        yield digest
