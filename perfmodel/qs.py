"""The qs inequality: when a mixture of experts moves more weight bytes than a dense model.

Equation numbers are those of "The qs Inequality: Quantifying the Double Penalty of
Mixture-of-Experts at Inference" (arXiv 2603.08960). Symbols: E experts, k of them a token, B tokens
in a decode step, s active fraction, q quality multiplier, R reuse (tokens that share one read of a
weight), P parameters, W weight bytes, L loss.
"""

from dataclasses import dataclass

import numpy as np

from catalog.errors import BadValue
from perfmodel.arrays import Real

# Kaplan et al., "Scaling Laws for Neural Language Models" (arXiv 2001.08361), eq. 1.1.
KAPLAN_ALPHA = 0.076
# What the paper sets for all its pairs (section 5.1).
PAPER_QUALITY = 5.0


def active_fraction(experts: int, top_k: int) -> float:
    """s = k / E (eq. 9)."""
    if not 1 <= top_k <= experts:
        raise BadValue("top-k", top_k, f"1 to the number of experts, {experts}")
    return top_k / experts


def tokens_per_expert(batch: Real, s: Real) -> Real:
    """B_e = B k / E = s B, on average (eqs 1, 10)."""
    return s * batch


def reuse(batch: Real, s: Real = 1.0) -> Real:
    """R_dense = B (eq. 5), R_moe = s B (eqs 6, 22)."""
    return s * batch


def memory_time_s(weight_bytes: Real, bandwidth_bytes_per_s: Real, tokens_sharing: Real) -> Real:
    """T_mem = W / (BW R), a token's share of reading the weights (eq. 4)."""
    return weight_bytes / (bandwidth_bytes_per_s * tokens_sharing)


def quality_from_losses(dense_loss: Real, moe_loss: Real, *, alpha: float = KAPLAN_ALPHA) -> Real:
    """q = (L_dense / L_moe)^(1/α), both trained with the same compute (eqs 12 to 16)."""
    return (dense_loss / moe_loss) ** (1.0 / alpha)


def quality_matched_params(q: Real, s: Real, total_params: Real) -> Real:
    """P_dense = q s P_total (eqs 11, 21)."""
    return q * s * total_params


def traffic_ratio(
    q: Real, s: Real, *, moe_batch: Real = 1.0, dense_batch: Real | None = None
) -> Real:
    """FFN weight bytes a token, dense over MoE: q s at equal batches (eq. 17).

    With unequal batches q s B_moe / B_dense, which the paper leaves out. Mean-field: every expert
    is taken as read in every step, true for s B >> 1.
    """
    return q * s * moe_batch / (moe_batch if dense_batch is None else dense_batch)


def dense_advantaged(q: float, s: float) -> bool:
    """The inequality, q s < 1 (eq. 18)."""
    return q * s < 1.0


def exact_traffic_ratio(q: Real, s: Real, batch: Real) -> Real:
    """The same ratio when B tokens touch E (1 − (1 − s)^B) experts: q s / (1 − (1 − s)^B).

    Not in the paper: independent uniform routing, each touched expert read once.
    """
    return q * s / (1.0 - (1.0 - s) ** batch)


def crossover_batch(q: float, s: float) -> float:
    """B* = ln(1 − q s) / ln(1 − s): below it the MoE moves fewer FFN bytes than the dense model.

    Infinite when q s ≥ 1; nan when every expert is active, so that there is nothing to cross.
    """
    if q * s >= 1.0:
        return np.inf
    return float(np.log1p(-q * s) / np.log1p(-s))


def token_time_s(compute_s: Real, memory_s: Real, communication_s: Real = 0.0) -> Real:
    """T_tok = max(T_comp, T_mem) + T_comm,exposed (eqs 3 and 19)."""
    return np.maximum(compute_s, memory_s) + communication_s


@dataclass(frozen=True, slots=True)
class ReuseGap:
    """R_dense / R_moe = (E / k) · (B_dense / B_moe) = routing · capacity (eqs 7, 8, 22, 23)."""

    s: float
    moe_batch: float
    dense_batch: float

    @property
    def moe_reuse(self) -> float:
        return self.s * self.moe_batch

    @property
    def dense_reuse(self) -> float:
        return self.dense_batch

    @property
    def routing_factor(self) -> float:
        return 1.0 / self.s

    @property
    def capacity_factor(self) -> float:
        return self.dense_batch / self.moe_batch

    @property
    def total(self) -> float:
        return self.routing_factor * self.capacity_factor
