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

    def find(self, sequence: Sequence) -> int:
        """Return how many of a sequence's tokens are cached when it begins: as many as were told.

        They take blocks of their own, as if nobody shared them.
        """
        return sequence.cached_tokens

    def admit(self, sequence: Sequence, tokens: int) -> bool:
        """Give a sequence that begins its first blocks; False, and nothing, where it cannot.

        It begins when all that is known of it fits (vLLM's `scheduler_reserve_full_isl`).
        """
        return self.needed(sequence.known) <= self.free and self.grow(sequence, tokens)

    def advance(self, sequences: Items[Sequence], steps: int) -> None:  # noqa: ARG002
        """Give sequences that took decode steps together the blocks they have come to need."""
        for sequence in sequences:
            self.grow(sequence, sequence.computed)

    def may_find_more(self, waiting: Sequence, running: Items[Sequence]) -> bool:  # noqa: ARG002
        """Say whether a sequence that has no room could find more of itself cached meanwhile."""
        return False

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
