"""Prompts as token ids: exact in length, ordinary tokens only, no two alike."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from workloads.load.content import TokenIds


def token_prompts(
    rng: np.random.Generator,
    *,
    count: int,
    length: int,
    vocab: int,
    reserved: Collection[int] = (),
) -> TokenIds:
    """Draw prompts of shape (count, length), uniform over the ids below `vocab` not reserved.

    A fresh generator for each cell and replicate is what keeps a server's prefix cache cold; the
    same generator for each strategy is what makes their measurements comparable.
    """
    ordinary = np.setdiff1d(np.arange(vocab, dtype=np.int32), np.asarray([*reserved], np.int32))
    # Python's power does not overflow, but a huge one is slow: 64 tokens suffice for any count.
    if len(ordinary) ** min(length, 64) < count:
        raise ValueError(
            f"{count} different prompts of {length} tokens need more than {len(ordinary)} ids"
        )
    prompts = rng.choice(ordinary, (count, length))
    while len(repeated := _repeated(prompts)):
        prompts[repeated] = rng.choice(ordinary, (len(repeated), length))
    return prompts


def _repeated(prompts: TokenIds) -> NDArray[np.intp]:
    """Return the rows that are equal to an earlier one."""
    _, first = np.unique(prompts, axis=0, return_index=True)
    return np.setdiff1d(np.arange(len(prompts)), first)
