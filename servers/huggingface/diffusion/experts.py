"""Three ways to compute the same experts; registered with transformers, which routes.

Each takes tokens (T, H), the chosen experts and their weights (T, k), and multiplies with the
experts' stacked matrices: gate and up (E, 2I, H), down (E, H, I).
"""

from typing import TYPE_CHECKING, Protocol

from servers.huggingface.diffusion.options import EXPERTS

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "moeserve_"


class Stacked(Protocol):
    """The experts of one layer, as transformers holds them."""

    num_experts: int
    gate_up_proj: "Tensor"
    down_proj: "Tensor"

    def act_fn(self, gate: "Tensor") -> "Tensor": ...


def loop(module: Stacked, hidden: "Tensor", chosen: "Tensor", weights: "Tensor") -> "Tensor":
    """One expert after the other, nine operations each, as the published LLaDA-MoE code does."""
    import torch
    from torch.nn.functional import linear, one_hot

    output = torch.zeros_like(hidden)
    routed = one_hot(chosen, module.num_experts).permute(2, 1, 0)
    width = module.down_proj.shape[2]
    for expert in range(module.num_experts):
        rank, token = torch.where(routed[expert])
        inside, gate_up = hidden[token], module.gate_up_proj[expert]
        inside = module.act_fn(linear(inside, gate_up[:width])) * linear(inside, gate_up[width:])
        result = linear(inside, module.down_proj[expert]) * weights[token, rank, None]
        output.index_add_(0, token, result.to(output.dtype))
    return output


def batched(module: Stacked, hidden: "Tensor", chosen: "Tensor", weights: "Tensor") -> "Tensor":
    """All experts in one batched product each for up and down, padded to the busiest expert."""
    import torch

    experts, top_k = module.num_experts, chosen.shape[1]
    expert, order = chosen.reshape(-1).sort(stable=True)
    counts = torch.bincount(expert, minlength=experts)
    first = counts.cumsum(0) - counts
    place = torch.arange(len(expert), device=expert.device) - first[expert]
    padded = hidden.new_zeros(experts, int(counts.max()), hidden.shape[1])
    padded[expert, place] = hidden[order // top_k]
    gate, up = torch.bmm(padded, module.gate_up_proj.transpose(1, 2)).chunk(2, dim=-1)
    result = torch.bmm(module.act_fn(gate) * up, module.down_proj.transpose(1, 2))
    return _combined(result[expert, place], order, weights)


def grouped(module: Stacked, hidden: "Tensor", chosen: "Tensor", weights: "Tensor") -> "Tensor":
    """All experts in one grouped product each for up and down: transformers' own kernel choice."""
    from transformers.integrations.moe import grouped_mm_experts_forward

    output: Tensor = grouped_mm_experts_forward(module, hidden, chosen, weights)
    return output


def _combined(results: "Tensor", order: "Tensor", weights: "Tensor") -> "Tensor":
    """Weigh the sorted results (T·k, H), put them back in order and sum each token's k."""
    tokens, top_k = weights.shape
    weighed = results.new_empty(results.shape)
    weighed[order] = results
    return (weighed.view(tokens, top_k, -1) * weights[..., None].to(results.dtype)).sum(1)


def use(config: object, name: str) -> None:
    """Let a model with this configuration compute its experts so; a dense one has none."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    functions = dict(zip(EXPERTS, (loop, batched, grouped), strict=True))
    ALL_EXPERTS_FUNCTIONS.register(PREFIX + name, functions[name])
    config._experts_implementation = PREFIX + name  # type: ignore[attr-defined]  # transformers'
