"""One expert after the other: the reference that the other implementations are checked against."""

import torch
from torch.nn import functional

from microbench.backends.base import Backend, ExpertStep, WeightPool


def loop() -> Backend:
    return Backend("python loop over experts", run)


def run(step: ExpertStep, weights: WeightPool) -> torch.Tensor:
    """Σ_j w_j · W2_e (silu(W1_e x) ∘ W3_e x) over the experts e = e_j of each token x."""
    out = torch.zeros_like(step.hidden, dtype=torch.float32)
    for expert in torch.unique(step.topk_ids).tolist():
        token, choice = torch.where(step.topk_ids == expert)
        product = functional.linear(step.hidden[token], weights.w13[expert])
        gate, up = product.chunk(2, dim=-1)
        result = functional.linear(functional.silu(gate) * up, weights.w2[expert])
        out.index_add_(0, token, result.float() * step.topk_weights[token, choice, None])
    return out.to(step.hidden.dtype)
