"""The KV cache as equal blocks: how many are free, and who holds how many."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

from perfmodel.sequence import Sequence


@dataclass(slots=True)
class BlockPool:
    """A count of blocks of `block_tokens` cache entries each; which ones they are is no matter."""

    total: int
    block_tokens: int = 16
    used: int = 0
    peak: int = 0

    @property
    def free(self) -> int:
        return self.total - self.used

    def needed(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    def grow(self, sequence: Sequence, tokens: int) -> bool:
        """Give a sequence the blocks for `tokens` entries; False, and nothing, if too few."""
        more = -(-tokens // self.block_tokens) - sequence.blocks
        if more <= 0:
            return True
        if more > self.free:
            return False
        sequence.blocks += more
        self.used += more
        self.peak = max(self.peak, self.used)
        return True

    def release(self, sequence: Sequence) -> None:
        self.used -= sequence.blocks
        sequence.blocks = 0

    def steps_ahead(self, sequences: Items[Sequence], most: int) -> int:
        """Return how many decode steps, up to `most`, all sequences can take without new room.

        The first of them already has its blocks.
        """
        if self._more(sequences, most) <= self.free:
            return most
        fits, fails = 1, most
        while fails - fits > 1:
            middle = (fits + fails) // 2
            if self._more(sequences, middle) <= self.free:
                fits = middle
            else:
                fails = middle
        return fits

    def _more(self, sequences: Items[Sequence], steps: int) -> int:
        size = self.block_tokens
        return sum(-(-(each.computed + steps) // size) - each.blocks for each in sequences)
