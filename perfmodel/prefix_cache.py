"""vLLM's prefix cache: full blocks found by a chained hash, evicted least recently used first.

`BlockPool` and `FullAttentionManager` of vllm/v1/core, version 0.32, for one group of layers with
full attention. A block enters the cache when the step that fills it is planned, so that requests
of one step share it already. Blocks that nobody holds stay found until they are handed out anew:
first those that were never full, then the one let go longest ago, of one request its last first.
"""

from collections import OrderedDict
from collections.abc import Hashable
from collections.abc import Sequence as Items
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike

from perfmodel.blocks import BlockPool
from perfmodel.sequence import Sequence

CHAIN = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse modulo 2**64: 2**64 over the golden ratio (Knuth 6.4)."""


def block_hashes(token_ids: ArrayLike, block_tokens: int) -> list[int]:
    """Return a hash of each full block that stands for its tokens and all before them.

    h_i = CHAIN · h_(i-1) + Σ_j c_j (t_ij + 1) modulo 2**64, with odd c_j from a fixed seed: equal
    for equal prefixes; two that differ in ids below 2**k agree by chance once in 2**(64-k).
    """
    ids = np.asarray(token_ids, np.uint64)
    blocks = ids[: len(ids) // block_tokens * block_tokens].reshape(-1, block_tokens)
    rng = np.random.default_rng(0)
    odd = rng.integers(2**64, size=block_tokens, dtype=np.uint64) | np.uint64(1)
    digests = ((blocks + np.uint64(1)) * odd).sum(axis=1, dtype=np.uint64).tolist()
    return list(accumulate(digests, lambda before, digest: (before * CHAIN + digest) % 2**64))


class PrefixCache(BlockPool):
    """Blocks with an identity each: one may be held by several sequences at once."""

    def __init__(self, total: int, block_tokens: int) -> None:
        super().__init__(total, block_tokens)
        self._free = OrderedDict.fromkeys(range(total))
        """In the order in which they will be handed out."""
        self._holders = [0] * total
        self._hash_of: list[Hashable | None] = [None] * total
        self._first_of: dict[Hashable, int] = {}
        """The block of a hash that was cached first."""
        self._copies_of: dict[Hashable, list[int]] = {}
        """Those cached after it, in order: copies are kept, not merged."""
        self._held: dict[int, list[int]] = {}
        """The blocks of a request, in order of its tokens."""

    def find(self, sequence: Sequence) -> int:
        """Return how many tokens are cached; never the last, from which the next one comes."""
        return len(self._found(sequence)) * self.block_tokens

    def admit(self, sequence: Sequence, tokens: int) -> bool:
        """Let a sequence hold what is cached of it and the blocks up to `tokens`.

        False, and nothing, where all that is known of it would not fit: vLLM admits none by halves.
        """
        found = self._found(sequence)
        unheld = sum(not self._holders[block] for block in found)
        if self.needed(sequence.known) - len(found) + unheld > self.free:
            return False
        for block in found:
            if not self._holders[block]:
                del self._free[block]
            self._holders[block] += 1
        self._held[sequence.request] = list(found)
        sequence.hashed = sequence.blocks = len(found)
        self._count()
        return self.grow(sequence, tokens)

    def grow(self, sequence: Sequence, tokens: int) -> bool:
        """Give a sequence the blocks for `tokens` entries, and cache those that are then full."""
        if tokens > sequence.blocks * self.block_tokens and not self._take(sequence, tokens):
            return False
        full = tokens // self.block_tokens
        if full > sequence.hashed:
            for index in range(sequence.hashed, min(full, len(sequence.hashes))):
                self._cache(sequence, index)
            sequence.hashed = full
        return True

    def advance(self, sequences: Items[Sequence], steps: int) -> None:
        """Grow sequences that took `steps` decode steps together, caching in the steps' order."""
        size, filled = self.block_tokens, []
        for rank, sequence in enumerate(sequences):
            if not self._take(sequence, sequence.computed):
                raise ValueError(f"request {sequence.request} ran ahead of its blocks")
            until = min(sequence.computed // size, len(sequence.hashes))
            for index in range(sequence.hashed, until):
                step = steps - (sequence.computed - (index + 1) * size)
                filled.append((step, rank, index, sequence))
            sequence.hashed = max(sequence.hashed, sequence.computed // size)
        for _, _, index, sequence in sorted(filled, key=lambda each: each[:3]):
            self._cache(sequence, index)

    def release(self, sequence: Sequence) -> None:
        """Let go of a sequence's blocks; those that are cached stay found for now."""
        never_full = []
        for block in reversed(self._held.pop(sequence.request, [])):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if self._hash_of[block] is None:
                never_full.append(block)
            else:
                self._free[block] = None
        for block in reversed(never_full):
            self._free[block] = None
            self._free.move_to_end(block, last=False)
        sequence.blocks = sequence.hashed = 0
        self.used = self.total - len(self._free)

    def may_find_more(self, waiting: Sequence, running: Items[Sequence]) -> bool:
        """Say whether what runs could yet cache the first block that is missing to who waits."""
        index = len(self._found(waiting))
        if index >= min(len(waiting.hashes), (waiting.known - 1) // self.block_tokens):
            return False
        missing = waiting.hashes[index]
        return any(missing in each.hashes[each.hashed :] for each in running)

    def _found(self, sequence: Sequence) -> list[int]:
        most = (sequence.known - 1) // self.block_tokens
        found: list[int] = []
        for each in sequence.hashes[:most]:
            block = self._first_of.get(each)
            if block is None:
                break
            found.append(block)
        return found

    def _take(self, sequence: Sequence, tokens: int) -> bool:
        more = self.needed(tokens) - sequence.blocks
        if more > len(self._free):
            return False
        held, free, holders, hash_of = (
            self._held[sequence.request], self._free, self._holders, self._hash_of,
        )  # fmt: skip
        for _ in range(more):
            block, _nothing = free.popitem(last=False)
            if hash_of[block] is not None:
                self._evict(block)
            holders[block] = 1
            held.append(block)
        sequence.blocks = len(held)
        self._count()
        return True

    def _cache(self, sequence: Sequence, index: int) -> None:
        block, key = self._held[sequence.request][index], sequence.hashes[index]
        self._hash_of[block] = key
        if self._first_of.setdefault(key, block) != block:
            self._copies_of.setdefault(key, []).append(block)

    def _evict(self, block: int) -> None:
        key, self._hash_of[block] = self._hash_of[block], None
        assert key is not None
        copies = self._copies_of.get(key, [])
        if self._first_of[key] != block:
            copies.remove(block)
        elif copies:
            self._first_of[key] = copies.pop(0)
        else:
            del self._first_of[key]
        if not copies:
            self._copies_of.pop(key, None)

    def _count(self) -> None:
        self.used = self.total - len(self._free)
        self.peak = max(self.peak, self.used)
