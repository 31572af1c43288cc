"""Which experts are resident: a fixed number of slots, and who gives up its slot."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

ExpertKey = tuple[int, int]
"""Layer and expert."""
DECAY = 0.98
"""What a layer's activations count after each further one of that layer."""


@dataclass(slots=True)
class CacheCounters:
    """What happened so far."""

    hits: int = 0
    misses: int = 0
    prefetched: int = 0
    prefetch_hits: int = 0
    """First uses of experts that were there because they had been guessed."""


@dataclass(slots=True)
class ExpertCache:
    """Slots and their experts; whoever asks for a slot must then fill it."""

    slots: range
    policy: Literal["lru", "activation"] = "lru"
    counts: CacheCounters = field(default_factory=CacheCounters)
    _slot_of: dict[ExpertKey, int] = field(default_factory=dict)
    """In order of use, the least recent first."""
    _free: list[int] = field(init=False)
    _guessed: set[ExpertKey] = field(default_factory=set)
    _uses: dict[int, int] = field(default_factory=dict)
    """Of each layer so far: the clock by which its activations fade."""
    _activations: dict[ExpertKey, tuple[float, int]] = field(default_factory=dict)
    """What they were worth, and when that was."""

    def __post_init__(self) -> None:
        self._free = list(reversed(self.slots))

    @property
    def resident(self) -> Collection[ExpertKey]:
        return self._slot_of.keys()

    @property
    def full(self) -> bool:
        return not self._free

    def use(self, key: ExpertKey) -> int | None:
        """Look an expert up for use: its slot, or None where it has to be fetched."""
        self._activate(key)
        slot = self._slot_of.pop(key, None)
        if slot is None:
            self.counts.misses += 1
            return None
        self._slot_of[key] = slot
        self.counts.hits += 1
        self.counts.prefetch_hits += key in self._guessed
        self._guessed.discard(key)
        return slot

    def take(
        self, key: ExpertKey, *, keep: Collection[ExpertKey] = (), guessed: bool = False
    ) -> int | None:
        """Return a slot for an expert that is not resident, its holder evicted if it has one.

        Experts in `keep` keep theirs; None where no other slot is left.
        """
        slot = self._free.pop() if self._free else self._evict(keep)
        if slot is None:
            return None
        self._slot_of[key] = slot
        if guessed:
            self._guessed.add(key)
            self.counts.prefetched += 1
        return slot

    def _evict(self, keep: Collection[ExpertKey]) -> int | None:
        candidates = [key for key in self._slot_of if key not in keep]
        if not candidates:
            return None
        # min takes the first of equals: the least recently used one.
        leaves = min(candidates, key=self._worth)
        self._guessed.discard(leaves)
        return self._slot_of.pop(leaves)

    def _worth(self, key: ExpertKey) -> float:
        if self.policy == "lru":
            return 0.0
        worth, then = self._activations.get(key, (0.0, 0))
        return worth * DECAY ** (self._uses.get(key[0], 0) - then)

    def _activate(self, key: ExpertKey) -> None:
        now = self._uses[key[0]] = self._uses.get(key[0], 0) + 1
        self._activations[key] = (self._worth(key) + 1.0, now)
