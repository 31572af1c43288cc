"""vLLM's fused mixture of experts: the Triton kernel on a GPU, its C++ operator on a CPU."""

import torch

from catalog.errors import InputError
from microbench.backends.base import Backend, ExpertStep, WeightPool


def vllm(device: str, dtype: torch.dtype) -> Backend:
    """Find the kernel that vLLM itself would take for plain weights on this device."""
    try:
        return _on_cpu(dtype) if device == "cpu" else _on_gpu()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"backend 'vllm': the vLLM installed here has no fused experts for {device} "
            f"({error}); leave it out with --backend loop,grouped"
        ) from error


def _on_gpu() -> Backend:
    from vllm.model_executor.layers.fused_moe import fused_experts

    def run(step: ExpertStep, weights: WeightPool) -> torch.Tensor:
        out: torch.Tensor = fused_experts(
            step.hidden, weights.w13, weights.w2, step.topk_weights, step.topk_ids
        )
        return out

    return Backend("vllm fused_experts (triton)", run)


def _on_cpu(dtype: torch.dtype) -> Backend:
    from vllm.platforms import current_platform

    current_platform.import_kernels()
    from vllm._custom_ops import cpu_fused_moe, cpu_prepack_moe_weight

    isa = _instructions(dtype)

    def run(step: ExpertStep, weights: WeightPool) -> torch.Tensor:
        out = torch.empty_like(step.hidden)
        cpu_fused_moe(
            out,
            step.hidden,
            weights.w13,
            weights.w2,
            None,
            None,
            step.topk_weights,
            step.topk_ids,
            "silu",
            isa,
        )
        return out

    def pack(pool: WeightPool) -> WeightPool:
        return WeightPool(
            cpu_prepack_moe_weight(pool.w13, isa), cpu_prepack_moe_weight(pool.w2, isa)
        )

    return Backend(f"vllm cpu_fused_moe ({isa})", run, pack)


def _instructions(dtype: torch.dtype) -> str:
    """Choose as vLLM's own oracle does: tiles for bfloat16 where the CPU has them."""
    if dtype is torch.bfloat16 and torch.cpu._is_amx_tile_supported():
        return "amx"
    return "vec"
