"""The qs inequality: when a mixture of experts moves more weight bytes than a dense model.

Equation numbers are those of "The qs Inequality: Quantifying the Double Penalty of
Mixture-of-Experts at Inference" (arXiv 2603.08960). Symbols: E experts, k of them a token, B tokens
in a decode step, s active fraction, q quality multiplier, R reuse (tokens that share one read of a
weight), P parameters.
"""

from dataclasses import dataclass

import numpy as np

from catalog.errors import BadValue
from perfmodel.arrays import Real


def active_fraction(experts: int, top_k: int) -> float:
    """s = k / E (eq. 9)."""
    if not 1 <= top_k <= experts:
        raise BadValue("top-k", top_k, f"1 to the number of experts, {experts}")
    return top_k / experts


KAPLAN_ALPHA = 0.076
"""Exponent of loss over parameters (Kaplan et al., arXiv 2001.08361), of models fully trained."""


def quality_of_losses(dense_loss: float, moe_loss: float, alpha: float = KAPLAN_ALPHA) -> float:
    """q = (L_dense / L_moe)^(1/α) (eqs 12 to 16): losses of equal active size and training."""
    for what, value in (("dense loss", dense_loss), ("MoE loss", moe_loss), ("alpha", alpha)):
        if not 0 < value < np.inf:
            raise BadValue(what, value, "above 0")
    return float((dense_loss / moe_loss) ** (1 / alpha))


def quality_matched_params(q: Real, s: Real, total_params: Real) -> Real:
    """P_dense = q s P_total (eqs 11, 21)."""
    return q * s * total_params


def dense_advantaged(q: float, s: float) -> bool:
    """The inequality, q s < 1 (eq. 18)."""
    return q * s < 1.0


def exact_traffic_ratio(q: Real, s: Real, batch: Real) -> Real:
    """FFN weight bytes a token, dense over MoE: q s / (1 − (1 − s)^B), near q s for s B >> 1.

    Not in the paper, whose q s (eq. 17) takes every expert as read in every step: independent
    uniform routing, B tokens touch E (1 − (1 − s)^B) experts, each touched one is read once.
    """
    return q * s / (1.0 - (1.0 - s) ** batch)


def crossover_batch(q: float, s: float) -> float:
    """B* = ln(1 − q s) / ln(1 − s): below it the MoE moves fewer FFN bytes than the dense model.

    Infinite when q s ≥ 1; nan when every expert is active, so that there is nothing to cross.
    """
    if q * s >= 1.0:
        return np.inf
    return float(np.log1p(-q * s) / np.log1p(-s))


@dataclass(frozen=True, slots=True)
class ReuseGap:
    """R_dense / R_moe = (E / k) · (B_dense / B_moe) = routing · capacity (eqs 7, 8, 22, 23)."""

    s: float
    moe_batch: float
    dense_batch: float

    @property
    def routing_factor(self) -> float:
        return 1.0 / self.s

    @property
    def capacity_factor(self) -> float:
        return self.dense_batch / self.moe_batch

    @property
    def total(self) -> float:
        return self.routing_factor * self.capacity_factor
