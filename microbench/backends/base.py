"""What every implementation of the expert MLP is given and gives."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class WeightPool:
    """Experts in a row: gate and up (count, 2 · intermediate, hidden), down (count, hidden, i)."""

    w13: torch.Tensor
    w2: torch.Tensor

    def place(self, start: int, experts: int) -> "WeightPool":
        """A view of so many experts from `start` on."""
        end = start + experts
        return WeightPool(self.w13[start:end], self.w2[start:end])


@dataclass(frozen=True, slots=True)
class ExpertStep:
    """One decode step's input: a token a row, its experts and their weights."""

    hidden: torch.Tensor
    """(batch, hidden)"""
    topk_ids: torch.Tensor
    """(batch, top_k), int32, all below `active`."""
    topk_weights: torch.Tensor
    """(batch, top_k), float32."""
    active: int


RunStep = Callable[[ExpertStep, WeightPool], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Backend:
    """One implementation, ready for a device and data type."""

    kernel: str
    """What does the matrix products, for the record."""
    run: RunStep
    pack: Callable[[WeightPool], WeightPool] | None = None
    """Brings the pool into the kernel's own order; done once, not timed."""
