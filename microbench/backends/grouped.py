"""All experts in two products: torch's grouped one where the device has it, else batched ones."""

import torch
from torch.nn import functional

from microbench.backends.base import Backend, ExpertStep, WeightPool


def grouped(device: str, dtype: torch.dtype) -> Backend:
    """On a CPU torch's grouped product is a loop inside; its batched one is faster."""
    if device != "cpu" and _has_grouped(device, dtype):
        return Backend("torch._grouped_mm", run_grouped)
    return Backend("torch.bmm", run_batched)


def _has_grouped(device: str, dtype: torch.dtype) -> bool:
    """Try it: which devices and types it takes changes with every release of torch."""
    if not hasattr(torch, "_grouped_mm"):
        return False
    rows = torch.ones(16, 32, device=device, dtype=dtype)
    experts = torch.ones(2, 16, 32, device=device, dtype=dtype)
    ends = torch.tensor([8, 16], device=device, dtype=torch.int32)
    try:
        torch._grouped_mm(rows, experts.transpose(1, 2), offs=ends)
    except (RuntimeError, NotImplementedError):
        return False
    return True


def run_grouped(step: ExpertStep, weights: WeightPool) -> torch.Tensor:
    """Rows sorted by expert, one product over groups of rows; no wait for the device."""
    expert, order = torch.sort(step.topk_ids.flatten(), stable=True)
    token = order // step.topk_ids.shape[1]
    experts = torch.arange(len(weights.w13), device=expert.device, dtype=expert.dtype)
    ends = torch.searchsorted(expert, experts, right=True).to(torch.int32)
    product = torch._grouped_mm(step.hidden[token], weights.w13.transpose(1, 2), offs=ends)
    result = torch._grouped_mm(_activate(product), weights.w2.transpose(1, 2), offs=ends)
    return _combine(step, result, order)


def run_batched(step: ExpertStep, weights: WeightPool) -> torch.Tensor:
    """Every active expert's rows padded to the busiest one's, one product a matrix."""
    expert, order = torch.sort(step.topk_ids.flatten(), stable=True)
    expert, token = expert.long(), order // step.topk_ids.shape[1]
    counts = torch.bincount(expert, minlength=step.active)
    first = counts.cumsum(0) - counts
    row = torch.arange(len(expert), device=expert.device) - first[expert]
    padded = step.hidden.new_zeros(step.active, int(counts.max()), step.hidden.shape[1])
    padded[expert, row] = step.hidden[token]
    product = torch.bmm(padded, weights.w13[: step.active].transpose(1, 2))
    result = torch.bmm(_activate(product), weights.w2[: step.active].transpose(1, 2))
    return _combine(step, result[expert, row], order)


def _activate(product: torch.Tensor) -> torch.Tensor:
    gate, up = product.chunk(2, dim=-1)
    return functional.silu(gate) * up


def _combine(step: ExpertStep, result: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Add each pair's row to its token's, weighted."""
    weighted = result.float() * step.topk_weights.flatten()[order, None]
    out = torch.zeros_like(step.hidden, dtype=torch.float32)
    out.index_add_(0, order // step.topk_ids.shape[1], weighted)
    return out.to(step.hidden.dtype)
