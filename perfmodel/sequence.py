"""One request inside the batcher: how far it is, and what it holds."""

from collections.abc import Hashable
from collections.abc import Sequence as Items
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Sequence:
    """A request's progress, in tokens.

    `computed` tokens have their keys and values in the cache. Once `computed` reaches `known`, the
    step gives the next output token, which is then known but not yet computed.
    """

    request: int
    prompt_tokens: int
    output_tokens: int
    hashes: Items[Hashable] = ()
    """Of each full block of prompt and answer; without them nothing is shared."""
    cached_tokens: int = 0
    """Prompt tokens that a prefix cache held when the request first began."""
    preempted: bool = False
    computed: int = 0
    produced: int = 0
    blocks: int = 0
    hashed: int = 0
    """Of these, how many a prefix cache knows by their hashes."""
    live: bool = True

    @property
    def known(self) -> int:
        return self.prompt_tokens + self.produced

    @property
    def remaining(self) -> int:
        return self.output_tokens - self.produced

    @property
    def finished(self) -> bool:
        return self.produced >= self.output_tokens

    @property
    def longest(self) -> int:
        """Cache entries held at the end: the last output token is never computed."""
        return self.prompt_tokens + self.output_tokens - 1
