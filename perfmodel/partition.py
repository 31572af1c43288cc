"""Every way to divide a number of GPUs over tensor, pipeline, expert, data and cache parallelism.

A pipeline stage holds dp replicas of tp · kvp · cp GPUs. Attention is split over tp by heads, its
cache over kvp (Helix, arXiv 2507.07120) or cp (ring pass-Q) by position. The feed-forward part is
split over all GPUs of a replica, routed experts over all of the stage: ep groups of GPUs hold
different experts, and each group slices its own over its GPUs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from catalog.errors import BadValue
from catalog.models import GroupedQueryAttention, Mixer, Model
from perfmodel.arrays import FloatArray

MOST_GPUS = 1024


@dataclass(frozen=True, slots=True)
class Partitions:
    """Degrees of many partitions, whole numbers, shape (n,) each; tp · pp · dp · kvp · cp GPUs."""

    tp: FloatArray
    pp: FloatArray
    ep: FloatArray
    dp: FloatArray
    kvp: FloatArray
    cp: FloatArray

    def __len__(self) -> int:
        return len(self.tp)

    @property
    def context_ways(self) -> FloatArray:
        """GPUs that share a sequence's cache by position."""
        return self.kvp * self.cp

    @property
    def replica(self) -> FloatArray:
        """GPUs of one replica in one stage."""
        return self.tp * self.context_ways

    @property
    def stage(self) -> FloatArray:
        """GPUs of one pipeline stage, over which a layer's experts are split."""
        return self.replica * self.dp

    @property
    def gpus(self) -> FloatArray:
        return self.stage * self.pp

    @property
    def slices(self) -> FloatArray:
        """GPUs that share each expert."""
        return self.stage // self.ep


def partitions(model: Model, gpus: int) -> Partitions:
    """Enumerate the partitions whose degrees divide what they split."""
    if not 1 <= gpus <= MOST_GPUS:
        raise BadValue("gpus", gpus, f"1 to {MOST_GPUS}")
    table = np.array(list(_degrees(model, gpus)), dtype=np.float64).reshape(-1, 6)
    return Partitions(*table.T)


def _degrees(model: Model, gpus: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Give (tp, pp, ep, dp, kvp, cp); at most one of kvp and cp is more than 1."""
    tps = [tp for tp in _divisors(gpus) if _splits_heads(model, tp)]
    pps = [pp for pp in _divisors(gpus) if pp <= model.layers]
    for tp, pp in product(tps, pps):
        if gpus % (tp * pp):
            continue
        rest = gpus // (tp * pp)
        for ways in _divisors(rest):
            for ep in _expert_ways(model, gpus // pp):
                yield tp, pp, ep, rest // ways, ways, 1
                if ways > 1:
                    yield tp, pp, ep, rest // ways, 1, ways


def _expert_ways(model: Model, stage: int) -> list[int]:
    experts = model.experts
    if experts is None:
        return [1]
    return [
        ep
        for ep in _divisors(stage)
        if experts.count % ep == 0 and experts.width % (stage // ep) == 0
    ]


def _splits_heads(model: Model, tp: int) -> bool:
    return all(_splits(mixer, tp) for _, mixer in model.mixers)


def _splits(mixer: Mixer, tp: int) -> bool:
    if mixer.heads % tp:
        return False
    if not isinstance(mixer, GroupedQueryAttention):
        return True
    return max(mixer.kv_heads, tp) % min(mixer.kv_heads, tp) == 0


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]
