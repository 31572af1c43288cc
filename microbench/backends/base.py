"""What every implementation of the expert MLP is given and gives."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Pool:
    """Experts in a row: gate and up (count, 2 · intermediate, hidden), down (count, hidden, i)."""

    w13: torch.Tensor
    w2: torch.Tensor

    def place(self, start: int, experts: int) -> "Pool":
        """A view of so many experts from `start` on."""
        end = start + experts
        return Pool(self.w13[start:end], self.w2[start:end])


@dataclass(frozen=True, slots=True)
class Step:
    """One decode step's input: a token a row, its experts and their weights."""

    hidden: torch.Tensor
    """(batch, hidden)"""
    topk_ids: torch.Tensor
    """(batch, top_k), int32, all below `active`."""
    topk_weights: torch.Tensor
    """(batch, top_k), float32."""
    active: int


Run = Callable[[Step, Pool], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Backend:
    """One implementation, ready for a device and data type."""

    kernel: str
    """What does the matrix products, for the record."""
    run: Run
    pack: Callable[[Pool], Pool] | None = None
    """Brings the pool into the kernel's own order; done once, not timed."""
