"""Fewer experts for tokens that can spare them: AdapMoE's gating by sensitivity."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NOBODY = -1
"""In the place of an expert that a token does without."""


@dataclass(slots=True)
class SkipRule:
    """Leave out a token's least weighted experts where that moves the loss little enough.

    AdapMoE (arXiv 2408.10284, section 4) keeps the first of two experts, of weights α and 1 − α,
    alone where (1 − α)² S_l < T: that is how much the loss of layer l grows to second order. For
    more than two, 1 − α is the share of the weights that is left out. S_l is measured
    (`calibration`) and scaled so that the most sensitive layer has 1.
    """

    threshold: float
    """T: 0 leaves out nobody, above the largest (1 − α)² each token keeps one expert."""
    sensitivities: Sequence[float]
    """S_l by layer, 0 to 1."""
    chosen: int = field(default=0, init=False)
    """Experts that routers chose so far, over all tokens and layers."""
    skipped: int = field(default=0, init=False)

    def apply(self, layer: int, chosen: "Tensor", weights: "Tensor") -> tuple["Tensor", "Tensor"]:
        """Return experts (T, k), with `NOBODY` for those left out, and weights of the same sum."""
        spared = self.spared(layer, weights)
        self.chosen += chosen.numel()
        skipped = int(spared.sum())
        if not skipped:
            return chosen, weights  # untouched to the last bit
        self.skipped += skipped
        kept = weights.masked_fill(spared, 0.0)
        kept = kept * (weights.sum(-1, keepdim=True) / kept.sum(-1, keepdim=True))
        return chosen.masked_fill(spared, NOBODY), kept

    def spared(self, layer: int, weights: "Tensor") -> "Tensor":
        """Mark, (T, k), the experts that can be left out; never a token's first."""
        import torch

        ascending, order = weights.float().sort(dim=-1)
        left_out = ascending.cumsum(-1) / ascending.sum(-1, keepdim=True)
        spared = left_out.square() * self.sensitivities[layer] < self.threshold
        spared[..., -1] = False
        return torch.zeros_like(spared).scatter(-1, order, spared)
